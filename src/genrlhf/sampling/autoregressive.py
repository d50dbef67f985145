"""Autoregressive sampling of one batch: n completions of every prompt."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ModelError
from genrlhf.models.completions import context_length
from genrlhf.models.families import SHARED_PREFIX_FAMILIES, family_of, shares_prefix, without_router_logits
from genrlhf.models.freezing import inner_model
from genrlhf.ops import position_ids
from genrlhf.sampling.narrow_linear import narrow_linear_layers
from genrlhf.sampling.plain import decode_plain, habits_of
from genrlhf.sampling.recorder import Recorder
from genrlhf.sampling.shared_prefix import SharedPrefixCache
from genrlhf.types import WHOLE_VOCABULARY, Generation, MaskingPolicy, SamplingParams, Support

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling.stops import StopStrings

__all__ = ["generate", "stop_token_ids"]

COMPACT_BELOW = 0.75
"""Ended sequences leave a batch once this share of it is left."""


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
    )
    if masking is not None and not (shared and shares_prefix(masking.model)):
        raise ModelError(
            f"A masking policy needs a model of one of the families {', '.join(sorted(SHARED_PREFIX_FAMILIES))}, not "
            f"{family_of(model)} and {family_of(masking.model)}."
        )
    with recorder.watching(model):
        if shared:
            context = context_length(model)
            room = context is None or prompt_ids.shape[1] + params.max_new_tokens < context
            _decode_shared(model, recorder, masking, closing_token_id if boundary is not None and room else None)
        else:
            decode_plain(model, recorder)
    return recorder.generation()


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
    limit = recorder.params.max_new_tokens
    with ExitStack() as stack:
        decoder = stack.enter_context(_Decoder.started(model, recorder))
        masked = stack.enter_context(_Decoder.started(masking.model, recorder)) if masking is not None else None
        while True:
            running = ~recorder.ended[recorder.rows]
            tokens = recorder.draw(decoder.logits, None if masked is None else masked.logits)
            done = recorder.step == limit
            if recorder.boundary is None:
                running &= ~recorder.ended[recorder.rows]
                if done:
                    return
            if not running.any():
                return
            kept = _compact(decoder.cache.samples, running)
            if kept is not None:
                for each in (decoder, masked):
                    if each is not None:
                        each.cache.keep(*kept)
                recorder.rows, tokens = recorder.rows[kept[1]], tokens[kept[1]]
            decoder.advance(tokens)
            if done:
                if closing_token_id is not None and (~recorder.ended[recorder.rows]).any():
                    decoder.advance(recorder.close(closing_token_id))
                return
            if masked is not None:
                masked.advance(tokens)


class _Decoder:
    """One model on its way through a batch, token by token.

    Attributes:
        cache: its keys and values.
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
        self.cache.start(recorder.n, recorder.params.max_new_tokens + closing)
        self.logits = logits.float().repeat_interleave(recorder.n, dim=0)

    @classmethod
    @contextmanager
    def started(cls, model: PreTrainedModel, recorder: Recorder) -> Iterator[_Decoder]:
        """Compute the prompts, and send the model's attention to its shared prefix within the context."""
        decoder = cls(model, recorder)
        with decoder.cache.decoding(model), narrow_linear_layers(inner_model(model)):
            yield decoder

    def advance(self, tokens: torch.Tensor) -> None:
        """Add a token to every row, (R,) int64."""
        output = self.model(
            input_ids=tokens.unsqueeze(-1),
            position_ids=self.cache.next_positions,
            shared_prefix=self.cache,
            **self.arguments,
        )
        self.logits = output.logits[:, -1].float()


def _compact(samples: int, running: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return which prompts and rows to keep where enough rows have ended, so that every prompt keeps as many."""
    by_prompt = running.view(-1, samples)
    counts = by_prompt.sum(-1)
    prompts = counts.nonzero().squeeze(-1)
    most = int(counts.max())
    if len(prompts) * most > COMPACT_BELOW * len(running):
        return None
    # Running rows first, and with them as many ended ones as make up the number.
    columns = by_prompt[prompts].int().argsort(dim=-1, descending=True, stable=True)[:, :most].sort(-1).values
    return prompts, (prompts.unsqueeze(-1) * samples + columns).flatten()
