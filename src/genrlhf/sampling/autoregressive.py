"""Autoregressive sampling of one batch: n completions of every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ModelError
from genrlhf.models.families import SHARED_PREFIX_FAMILIES, family_of, shares_prefix
from genrlhf.models.structure import context_length
from genrlhf.sampling.habits import habits_of
from genrlhf.sampling.plain import decode_plain
from genrlhf.sampling.recorder import Recorder
from genrlhf.sampling.shared_decoding import decode_shared
from genrlhf.types import WHOLE_VOCABULARY, Generation, MaskingPolicy, SamplingParams, Support

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling.stops import StopStrings

__all__ = ["check_masking", "generate", "stop_token_ids"]


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
    )
    if masking is not None:
        check_masking(model, masking.model)
    with recorder.watching(model):
        if shared:
            context = context_length(model)
            room = context is None or prompt_ids.shape[1] + params.max_new_tokens < context
            closing = closing_token_id if boundary is not None and room else None
            decode_shared(model, recorder, masking=masking, closing_token_id=closing, cuda_graphs=cuda_graphs)
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
