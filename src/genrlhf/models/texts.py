"""Whole texts, prompts with their completions, on their way through a model."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from genrlhf.models.families import forward_arguments, reads_left_padding
from genrlhf.models.structure import inner_model
from genrlhf.types import Tokens

__all__ = ["Joined", "Text", "head_logits"]


class Joined(Protocol):
    """Texts, and where their completions begin."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the model's forward pass."""
        ...

    def after_prompt(self, hidden: torch.Tensor, count: int) -> torch.Tensor:
        """Return (B, count, d) of the hidden states: of the last prompt token and what follows it."""
        ...


class Text(NamedTuple):
    """Prompts and completions as one text each, and where the completions begin.

    Attributes:
        arguments: of the model's forward pass.
        back: how far from the end of the tensor the last prompt tokens stand, a number or (B, 1).
    """

    arguments: dict[str, Any]
    back: int | torch.Tensor

    @classmethod
    def of(cls, model: nn.Module, tokens: Tokens) -> Text:
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
    def without_gaps(cls, model: nn.Module, tokens: Tokens) -> Text:
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


def head_logits(model: Any, view: Any, text: Joined, length: int) -> tuple[torch.Tensor, torch.Tensor]:
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
