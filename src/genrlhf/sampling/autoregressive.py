"""Autoregressive sampling of one batch: n completions of every prompt."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.distributed.fsdp import FSDPModule

from genrlhf.errors import ModelError
from genrlhf.models.families import SHARED_PREFIX_FAMILIES, family_of, shares_prefix, without_router_logits
from genrlhf.models.structure import context_length, inner_model
from genrlhf.ops import position_ids
from genrlhf.sampling.graphs import WIDTH, StepGraphs
from genrlhf.sampling.habits import habits_of
from genrlhf.sampling.narrow_linear import narrow_linear_layers
from genrlhf.sampling.plain import decode_plain
from genrlhf.sampling.recorder import Recorder
from genrlhf.sampling.shared_prefix import SharedPrefixCache
from genrlhf.types import WHOLE_VOCABULARY, Generation, MaskingPolicy, SamplingParams, Support

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling.stops import StopStrings

__all__ = ["check_masking", "generate", "stop_token_ids"]

COMPACT_BELOW = 0.75
"""Ended sequences leave a batch once this share of it is left."""

COMPACT_GRAPHS_BELOW = 0.5
"""The same where a step is recorded as a CUDA graph, and would have to be recorded again."""


def stop_token_ids(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Return the ids that end a completion: the tokenizer's EOS and those of the model's generation config."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    ids = declared if isinstance(declared, list) else [declared]
    return sorted({int(i) for i in (*ids, tokenizer.eos_token_id) if i is not None})


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    params: SamplingParams,
    *,
    n: int = 1,
    seeds: Sequence[int],
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    stops: StopStrings | None = None,
    boundary: int | None = None,
    closing_token_id: int | None = None,
    masking: MaskingPolicy | None = None,
    support: Support = WHOLE_VOCABULARY,
    cuda_graphs: bool = True,
) -> Generation:
    """Draw `n` completions of every prompt.

    In the families of `SHARED_PREFIX_FAMILIES` a prompt is computed and stored once for its n samples, and ended
    sequences leave the batch; all other models go through their own `generate`. The model is used as it is: put it in
    eval mode first, or dropout takes part.

    Args:
        model: a causal language model.
        prompt_ids: (P, L) int64, left-padded.
        prompt_mask: (P, L) bool.
        params: how to draw.
        n: samples a prompt.
        seeds: P · n of them, see `sample_seeds`; ignored at temperature 0.
        eos_token_ids: any of these ends a completion.
        pad_token_id: fills completions behind their end.
        stops: finds the strings that end a completion.
        boundary: return the hidden states that enter this layer, counted from 0, as `Generation.trunk`, which costs one
            more forward pass, for the last token; only where a prompt is shared.
        closing_token_id: with `boundary`, return what enters that layer for this token behind completions that were
            cut off, too.
        masking: draw only tokens in the nucleus of this policy; only where a prompt is shared.
        support: the tokens that log-probabilities and entropy range over, the whole vocabulary by default.
        cuda_graphs: on a GPU record a decoding step once and repeat it, where a prompt is shared and no layer slides.

    Returns:
        A `Generation` of P · n rows, the samples of one prompt side by side.

    Raises:
        ModelError: for prompts that the model cannot read side by side, or a masking policy and a model that does not
            share prompts.
    """
    shared = shares_prefix(model)
    if not shared:
        _refuse_unless_batched(model, prompt_mask, n)
    recorder = Recorder(
        prompt_ids,
        prompt_mask,
        params,
        n=n,
        seeds=seeds,
        eos_token_ids=eos_token_ids,
        pad_token_id=pad_token_id,
        stops=stops,
        boundary=boundary if shared else None,
        mask_top_p=masking.top_p if masking is not None else None,
        support=support,
        fixed_steps=cuda_graphs and shared and has_fixed_steps(model),
    )
    if masking is not None:
        check_masking(model, masking.model)
    with recorder.watching(model):
        if shared:
            context = context_length(model)
            room = context is None or prompt_ids.shape[1] + params.max_new_tokens < context
            _decode_shared(model, recorder, masking, closing_token_id if boundary is not None and room else None)
        else:
            decode_plain(model, recorder)
    return recorder.generation()


def check_masking(model: PreTrainedModel, masking: PreTrainedModel) -> None:
    """Raise `ModelError` where a model cannot draw from the nucleus of another, see `generate`."""
    if not (shares_prefix(model) and shares_prefix(masking)):
        raise ModelError(
            f"A masking policy needs a model of one of the families {', '.join(sorted(SHARED_PREFIX_FAMILIES))}, not "
            f"{family_of(model)} and {family_of(masking)}."
        )


def _refuse_unless_batched(model: PreTrainedModel, prompt_mask: torch.Tensor, n: int) -> None:
    habits, many, ragged = habits_of(model), len(prompt_mask) * n > 1, not prompt_mask.all()
    if (many and not habits.reads_batches) or (ragged and not habits.reads_left_padding):
        what = "the padding of shorter prompts as text" if habits.reads_batches else "one text at a time"
        raise ModelError(
            f"Models of type {family_of(model)!r} read {what}; draw for prompts of one length, or one at a time, as "
            "TransformersSampler does."
        )


def _decode_shared(
    model: PreTrainedModel, recorder: Recorder, masking: MaskingPolicy | None, closing_token_id: int | None
) -> None:
    limit, rows, known = recorder.params.max_new_tokens, np.arange(len(recorder.rows)), _KnownEnds(recorder)
    with ExitStack() as stack:
        decoder = stack.enter_context(_Decoder.started(model, recorder))
        masked = stack.enter_context(_Decoder.started(masking.model, recorder)) if masking is not None else None
        recorder.keep_states()
        while True:
            # What enters the boundary is wanted for a completion's last token, too.
            running = ~known()[rows] if recorder.boundary is not None else None
            tokens = recorder.draw(decoder.logits, None if masked is None else masked.logits)
            done = recorder.step == limit
            if running is None:
                if done:
                    return
                running = ~known()[rows]
            if not running.any():
                return
            share = COMPACT_BELOW if decoder.graphs is None else COMPACT_GRAPHS_BELOW
            kept = _compact(decoder.cache.samples, running, share)
            if kept is not None:
                rows = rows[kept[1]]
                prompts, places = (torch.from_numpy(part).to(recorder.rows.device) for part in kept)
                for each in (decoder, masked):
                    if each is not None:
                        each.cache.keep(prompts, places)
                recorder.rows, tokens = recorder.rows[places], tokens[places]
            decoder.advance(tokens)
            recorder.keep_states()
            if done:
                if closing_token_id is not None and (~recorder.ended[recorder.rows]).any():
                    decoder.advance(recorder.close(closing_token_id))
                    recorder.keep_states()
                return
            if masked is not None:
                masked.advance(tokens)


class _KnownEnds:
    """Which completions have ended, as far as the host knows without waiting for a GPU.

    There it learns of a step when the next one is on its way: ended completions stay for a step longer.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._coming: list[tuple[torch.Tensor, torch.cuda.Event]] = []

    def __call__(self) -> npt.NDArray[np.bool_]:
        """Return (P · n,) bool; later calls say more."""
        ended = self.recorder.ended
        if not ended.is_cuda:
            return ended.cpu().numpy()
        copy, event = torch.empty(ended.shape, dtype=torch.bool, pin_memory=True), torch.cuda.Event()
        copy.copy_(ended, non_blocking=True)
        event.record()
        self._coming.append((copy, event))
        if len(self._coming) == 1:
            return np.zeros(len(copy), dtype=bool)
        copy, event = self._coming.pop(0)
        event.synchronize()
        return copy.numpy()


class _Decoder:
    """One model on its way through a batch, token by token.

    Attributes:
        cache: its keys and values.
        graphs: records and repeats its steps; None where each is sent anew.
        logits: (R, V) float32, of the next token of every row.
    """

    def __init__(self, model: PreTrainedModel, recorder: Recorder) -> None:
        owner = inner_model(model)
        self.model = model
        self.cache = SharedPrefixCache(model.config.num_hidden_layers, recorder.prompt_mask)
        self.arguments = {"past_key_values": self.cache, "use_cache": True, **without_router_logits(model)}
        extra = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(owner.forward).parameters else {}
        logits = model(
            input_ids=recorder.prompt_ids,
            attention_mask=recorder.prompt_mask.long(),
            position_ids=position_ids(recorder.prompt_mask),
            **self.arguments,
            **extra,
        ).logits[:, -1]
        closing = int(recorder.boundary is not None)
        fixed = recorder.fixed_steps and has_fixed_steps(model)
        self.cache.start(recorder.n, recorder.params.max_new_tokens + closing, fixed=fixed)
        self.graphs = StepGraphs(self._step) if fixed else None
        self.logits = logits.float().repeat_interleave(recorder.n, dim=0)

    @classmethod
    @contextmanager
    def started(cls, model: PreTrainedModel, recorder: Recorder) -> Iterator[_Decoder]:
        """Compute the prompts, and send the model's attention to its shared prefix within the context."""
        decoder = cls(model, recorder)
        try:
            with decoder.cache.decoding(model), narrow_linear_layers(inner_model(model)):
                yield decoder
        finally:
            # They hold the decoder, as it does them: the keys and values of a batch would outlive it.
            decoder.graphs = None

    def advance(self, tokens: torch.Tensor) -> None:
        """Add a token to every row, (R,) int64."""
        if self.graphs is None:
            self.logits = self._step(tokens)
            return
        most = self.cache.max_length
        width = min(most, (self.cache.length // WIDTH + 1) * WIDTH)
        self.cache.hold(width)
        self.logits = self.graphs(tokens, width, width - self.cache.length)
        self.cache.count()

    def _step(self, tokens: torch.Tensor) -> torch.Tensor:
        output = self.model(
            input_ids=tokens.unsqueeze(-1),
            position_ids=self.cache.next_positions,
            shared_prefix=self.cache,
            **self.arguments,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits


def has_fixed_steps(model: PreTrainedModel) -> bool:
    """Say whether the decoding steps of a model can be recorded as CUDA graphs.

    A window would slide from step to step, and what is spread over processes or devices waits for others.
    """
    owner = inner_model(model)
    spread = isinstance(model, FSDPModule) or len(set((getattr(owner, "hf_device_map", None) or {}).values())) > 1
    return owner.device.type == "cuda" and getattr(owner.config, "sliding_window", None) is None and not spread


def _compact(
    samples: int, running: npt.NDArray[np.bool_], share: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Return which prompts and rows to keep where enough rows have ended, so that every prompt keeps as many."""
    by_prompt = running.reshape(-1, samples)
    counts = by_prompt.sum(-1)
    prompts = np.flatnonzero(counts)
    most = int(counts.max())
    if len(prompts) * most > share * len(running):
        return None
    # Running rows first, and with them as many ended ones as make up the number.
    columns = np.sort(np.argsort(~by_prompt[prompts], axis=-1, kind="stable")[:, :most], axis=-1)
    return prompts, (prompts[:, np.newaxis] * samples + columns).ravel()
