"""The forward pass that scores sampled completions token by token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

from genrlhf.models.families import forward_arguments, reads_left_padding
from genrlhf.models.last_positions import at_last_positions
from genrlhf.models.packing import PackedText, reads_packed
from genrlhf.models.structure import inner_model
from genrlhf.models.trunk import top_of
from genrlhf.types import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


__all__ = ["Trunk", "classifier_scores", "completion_logits"]

ROWS_OF_LIKE_LENGTH = 32
"""Texts that go through a model at a time on a processor, which is as fast with these as with more."""


class Trunk(NamedTuple):
    """What the first layers of a model make of prompts and completions.

    Attributes:
        depth: the number of those layers.
        states: (B, P + T, d).
    """

    depth: int
    states: torch.Tensor


def completion_logits(
    model: PreTrainedModel,
    tokens: Tokens,
    *,
    trunk: Trunk | None = None,
    groups: Sequence[int] | None = None,
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
        text = PackedText.of(model, tokens, groups)
        if text is not None and reads_packed(model, partial(_passes, model)):
            return _packed_logits(model, text, length, trunk)
    # Elsewhere the host would have to wait for the lengths.
    on_host = tokens.prompt_ids.device.type == "cpu"
    if trunk is None and on_host and reads_left_padding(model) and not sharded:
        return _logits_by_length(model, tokens)
    view = model if trunk is None else top_of(model, *trunk, last=length + 1)
    return _head_logits(model, view, _Text.of(model, tokens), length)


def _packed_logits(
    model: Any, text: PackedText, length: int, trunk: Trunk | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `completion_logits` does, from prompts with all of their completions behind them."""
    if trunk is None:
        view = at_last_positions(model, text.last)
    else:
        view = top_of(model, trunk.depth, text.states(trunk.states), last=text.last)
    return _head_logits(model, view, text, length)


def _passes(model: Any, tokens: Tokens, groups: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of completions behind prompts that they share and in whole texts, see `reads_packed`."""
    text = PackedText.of(model, tokens, groups, always=True)
    assert text is not None
    return _packed_logits(model, text, tokens.completion_ids.shape[1])[0], completion_logits(model, tokens)[0]


def _logits_by_length(
    model: PreTrainedModel,
    tokens: Tokens,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what `completion_logits` does, from passes over rows of like length without the padding between them."""
    order = (tokens.prompt_mask.sum(-1) + tokens.completion_mask.sum(-1)).argsort(stable=True)
    found = []
    for rows in order.split(ROWS_OF_LIKE_LENGTH):
        some = tokens.at(rows)
        length = max(1, int(some.completion_mask.sum(-1).max()))
        view = at_last_positions(model, length + 1)
        part = _head_logits(model, view, _Text.packed(model, some), length)
        found.append([nn.functional.pad(each, (0, 0, 0, tokens.completion_ids.shape[1] - length)) for each in part])
    back = order.argsort()
    logits, hidden = (torch.cat(parts)[back] for parts in zip(*found, strict=True))
    return logits, hidden


def _head_logits(model: Any, view: Any, text: _Text | PackedText, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits that predict `length` tokens behind the prompts, and what they are read from, see there.

    Args:
        model: a causal language model.
        view: what is run of it, see `top_of`.
        text: what it is run on.
        length: T.
    """
    captured: list[torch.Tensor] = []

    # The input of the head is the last hidden state in every family, whatever norm or projection comes before it. Cut
    # here, no logit is made in vain, nor a gradient of 0 for it; not contiguous, it would be multiplied row by row.
    def capture(_module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        captured.append(text.after_prompt(args[0], length).contiguous())
        return (captured[0],)

    handle = inner_model(model).get_output_embeddings().register_forward_pre_hook(capture)
    try:
        output = view(**text.arguments)
    finally:
        handle.remove()
    return output.logits, captured[0]


def classifier_scores(
    model: PreTrainedModel,
    tokens: Tokens,
    *,
    trunk: Trunk | None = None,
) -> torch.Tensor:
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
    text = _Text.of(view.base_model, tokens)
    hidden = text.after_prompt(view.base_model(**text.arguments).last_hidden_state, last)
    scores: torch.Tensor = view.score(hidden).squeeze(-1).float()
    return scores


class _Text(NamedTuple):
    """Prompts and completions as one text each, and where the completions begin.

    Attributes:
        arguments: of the model's forward pass.
        back: how far from the end of the tensor the last prompt tokens stand, a number or (B, 1).
    """

    arguments: dict[str, Any]
    back: int | torch.Tensor

    @classmethod
    def of(
        cls,
        model: nn.Module,
        tokens: Tokens,
    ) -> _Text:
        """Join prompts and completions for a model that may or may not read left-padded text."""
        ids, mask = tokens.joined()
        back = tokens.completion_ids.shape[1] + 1
        if reads_left_padding(model):
            return cls(forward_arguments(model, ids, mask), back)
        # With all padding on the right nothing depends on what a causal model makes of it, nor on how it counts.
        padding = (~tokens.prompt_mask).sum(-1, keepdim=True)
        places = torch.arange(ids.shape[1], device=ids.device) + padding
        inside = places < ids.shape[1]
        places = places.clamp(max=ids.shape[1] - 1)
        ids, mask = ids.gather(1, places), mask.gather(1, places) & inside
        return cls(forward_arguments(model, ids, mask, positions=False), back + padding)

    @classmethod
    def packed(
        cls,
        model: nn.Module,
        tokens: Tokens,
    ) -> _Text:
        """Join them without a gap, with all padding on the left, as wide as the longest text."""
        ids, mask = tokens.joined()
        places = mask.int().argsort(dim=-1, stable=True)[:, -max(1, int(mask.sum(-1).max())) :]
        return cls(
            forward_arguments(model, ids.gather(1, places), mask.gather(1, places)),
            tokens.completion_mask.sum(-1, keepdim=True) + 1,
        )

    def after_prompt(self, hidden: torch.Tensor, count: int) -> torch.Tensor:
        """Return (B, count, d) of hidden states (B, L, d): of the last prompt token and what follows it."""
        # From the end, as some adapters put states of their own before the text.
        if isinstance(self.back, int):
            return hidden[:, -self.back :][:, :count]
        places = hidden.shape[1] - self.back + torch.arange(count, device=hidden.device)
        # Behind the end of a completion anything will do.
        places = places.clamp(max=hidden.shape[1] - 1)
        return hidden.gather(1, places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
