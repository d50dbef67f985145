"""Sets of tokens, one bit a token, and distributions renormalised over them."""

from __future__ import annotations

import torch

from genrlhf.errors import ConfigError
from genrlhf.ops.sums import running_sum

__all__ = ["nucleus", "only_members", "pack_bits", "unpack_bits"]


def nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return which tokens belong to the nucleus of softmax(logits), bool of the same shape.

    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1: the smallest set of most likely
    tokens that has probability `top_p` or more.

    Args:
        logits: (…, V) float.
        top_p: above 0, at most 1.
    """
    if not 0 < top_p <= 1:
        raise ConfigError(f"top_p must be above 0 and at most 1, not {top_p}.")
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(-1)
    mass_before = running_sum(probabilities) - probabilities
    return torch.zeros_like(mass_before, dtype=torch.bool).scatter(-1, order, mass_before < top_p)


def pack_bits(members: torch.Tensor) -> torch.Tensor:
    """Return (…, ⌈V / 8⌉) uint8 for bool (…, V), eight to a byte."""
    padded = torch.nn.functional.pad(members, (0, -members.shape[-1] % 8)).unflatten(-1, (-1, 8))
    packed: torch.Tensor = (padded.to(torch.uint8) << _shifts(members.device)).sum(-1, dtype=torch.uint8)
    return packed


def unpack_bits(packed: torch.Tensor, size: int) -> torch.Tensor:
    """Return the bool (…, `size`) that `pack_bits` packed."""
    bits = (packed.unsqueeze(-1) >> _shifts(packed.device)) & 1
    members: torch.Tensor = bits.flatten(-2)[..., :size].bool()
    return members


def only_members(logits: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
    """Return `logits` with −inf at every token that is not in its place's set.

    A softmax of them is the distribution renormalised over the set, p(a) = π(a) / π(set).

    Args:
        logits: (…, V) float.
        packed: (…, ⌈W / 8⌉) uint8 from `pack_bits`, for a vocabulary of W tokens; those behind them are in no set.
    """
    size = logits.shape[-1]
    members = unpack_bits(packed, min(size, 8 * packed.shape[-1]))
    members = torch.nn.functional.pad(members, (0, size - members.shape[-1]))
    return logits.masked_fill(~members, float("-inf"))


def _shifts(device: torch.device) -> torch.Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
