"""The forward pass that scores sampled completions token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

from genrlhf.models.families import reads_left_padding
from genrlhf.models.last_positions import at_last_positions
from genrlhf.models.packing import packed_logits
from genrlhf.models.structure import inner_model
from genrlhf.models.texts import Text, head_logits
from genrlhf.models.trunk import Trunk, top_of
from genrlhf.types import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["classifier_scores", "completion_logits"]

ROWS_OF_LIKE_LENGTH = 32
"""Texts that go through a model at a time on a processor, which is as fast with these as with more."""


def completion_logits(
    model: PreTrainedModel, tokens: Tokens, *, trunk: Trunk | None = None, groups: Sequence[int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits that predict every completion token, and the hidden states they are read from.

    Only response positions go through the language-model head. Prompts that several completions share are computed
    once, where the model can. On a processor other texts of like length go through the model together, so that little
    padding does. Logits behind the end of a completion mean nothing.

    Args:
        model: a causal language model, in or out of a PEFT wrapper.
        tokens: of B prompts with their completions.
        trunk: what the model's first layers make of the tokens, if that is known.
        groups: of each of the B completions the number of its prompt, the same for those that share one; None for
            prompts that are not shared.

    Returns:
        logits, (B, T, V), and hidden states, (B, T, d), in the model's dtype.
    """
    length = tokens.completion_ids.shape[1]
    sharded = isinstance(inner_model(model), (FSDPModule, FullyShardedDataParallel))
    if groups is not None and len(set(groups)) < len(groups) and not sharded:
        found = packed_logits(model, tokens, groups, trunk)
        if found is not None:
            return found
    # Elsewhere the host would have to wait for the lengths.
    on_host = tokens.prompt_ids.device.type == "cpu"
    if trunk is None and on_host and reads_left_padding(model) and not sharded:
        return _logits_by_length(model, tokens)
    view = model if trunk is None else top_of(model, *trunk, last=length + 1)
    return head_logits(model, view, Text.of(model, tokens), length)


def _logits_by_length(model: PreTrainedModel, tokens: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `completion_logits` does, from passes over rows of like length without the padding between them."""
    order = (tokens.prompt_mask.sum(-1) + tokens.completion_mask.sum(-1)).argsort(stable=True)
    found = []
    for rows in order.split(ROWS_OF_LIKE_LENGTH):
        some = tokens.at(rows)
        length = max(1, int(some.completion_mask.sum(-1).max()))
        view = at_last_positions(model, length + 1)
        part = head_logits(model, view, Text.without_gaps(model, some), length)
        found.append([nn.functional.pad(each, (0, 0, 0, tokens.completion_ids.shape[1] - length)) for each in part])
    back = order.argsort()
    logits, hidden = (torch.cat(parts)[back] for parts in zip(*found, strict=True))
    return logits, hidden


def classifier_scores(model: PreTrainedModel, tokens: Tokens, *, trunk: Trunk | None = None) -> torch.Tensor:
    """Return the score that a sequence classifier reads at the last prompt token and every completion token.

    Args:
        model: a sequence classifier with one label and a head called `score`.
        tokens: of B prompts with their completions.
        trunk: what the model's first layers make of the tokens, if that is known.

    Returns:
        (B, T + 1) float32.
    """
    last = tokens.completion_ids.shape[1] + 1
    view: Any = model if trunk is None else top_of(model, *trunk, last=last)
    text = Text.of(view.base_model, tokens)
    hidden = text.after_prompt(view.base_model(**text.arguments).last_hidden_state, last)
    scores: torch.Tensor = view.score(hidden).squeeze(-1).float()
    return scores
