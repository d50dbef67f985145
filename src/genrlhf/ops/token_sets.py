"""Sets of tokens, one bit a token."""

from __future__ import annotations

import torch

from genrlhf.errors import ConfigError

__all__ = ["nucleus", "pack_bits", "unpack_bits"]


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
    mass_before = probabilities.cumsum(-1) - probabilities
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


def _shifts(device: torch.device) -> torch.Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
