"""Sampling token by token with a prompt that is computed and stored once for its samples."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch.distributed.fsdp import FSDPModule

from genrlhf.models.families import without_router_logits
from genrlhf.models.structure import inner_model
from genrlhf.ops import position_ids
from genrlhf.sampling.graphs import WIDTH, StepGraphs
from genrlhf.sampling.narrow_linear import narrow_linear_layers
from genrlhf.sampling.recorder import Recorder
from genrlhf.sampling.shared_prefix import SharedPrefixCache
from genrlhf.types import MaskingPolicy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["decode_shared"]

COMPACT_BELOW = 0.75
"""Ended sequences leave a batch once this share of it is left."""

COMPACT_GRAPHS_BELOW = 0.5
"""The same where a step is recorded as a CUDA graph, and would have to be recorded again."""


def decode_shared(
    model: PreTrainedModel,
    recorder: Recorder,
    *,
    masking: MaskingPolicy | None = None,
    closing_token_id: int | None = None,
    cuda_graphs: bool = True,
) -> None:
    """Draw completions of prompts whose keys and values are stored once; arguments as of `generate`."""
    fixed = cuda_graphs and has_fixed_steps(model)
    limit, rows, known = recorder.params.max_new_tokens, np.arange(len(recorder.rows)), _KnownEnds(recorder)
    with ExitStack() as stack:
        decoder = stack.enter_context(_Decoder.started(model, recorder, fixed=fixed))
        masked = None
        if masking is not None:
            both = fixed and has_fixed_steps(masking.model)
            masked = stack.enter_context(_Decoder.started(masking.model, recorder, fixed=both))
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

    def __init__(self, model: PreTrainedModel, recorder: Recorder, *, fixed: bool) -> None:
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
        self.cache.start(recorder.n, recorder.params.max_new_tokens + closing, fixed=fixed)
        self.graphs = StepGraphs(self._step) if fixed else None
        self.logits = logits.float().repeat_interleave(recorder.n, dim=0)

    @classmethod
    @contextmanager
    def started(cls, model: PreTrainedModel, recorder: Recorder, *, fixed: bool) -> Iterator[_Decoder]:
        """Compute the prompts, and send the model's attention to its shared prefix within the context."""
        decoder = cls(model, recorder, fixed=fixed)
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
