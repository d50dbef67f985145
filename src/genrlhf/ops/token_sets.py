"""Sets of tokens, one bit a token, and distributions renormalised over them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from genrlhf.errors import ConfigError
from genrlhf.ops.sums import running_sum

__all__ = ["EarlyTokens", "nucleus", "only_members", "pack_bits", "unpack_bits"]


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


class EarlyTokens(NamedTuple):
    """Tokens that cannot occur at the first places of a completion.

    Attributes:
        token_ids: in or behind the vocabulary.
        places: 0 bars them nowhere.
    """

    token_ids: tuple[int, ...] = ()
    places: int = 0

    def barred_rows(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Return for (B, T, V) logits which of the B · T rows they are barred from, (B · T,) bool; None for none."""
        if self.places <= 0 or not self._known(logits.shape[-1]):
            return None
        rows, length = logits.shape[0] * logits.shape[1], logits.shape[1]
        return torch.arange(rows, device=logits.device) % length < self.places

    def bar_(self, logits: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        """Set the logits of the tokens to −inf where `rows` is True, in place.

        Args:
            logits: (R, V) float.
            rows: (R,) bool; None changes nothing.
        """
        if rows is not None:
            # One by one: as a tensor the ids would have to be copied to the device, for which the host waits.
            for token in self._known(logits.shape[-1]):
                logits[:, token].masked_fill_(rows, float("-inf"))
        return logits

    def _known(self, vocabulary: int) -> list[int]:
        return [token for token in self.token_ids if token < vocabulary]


def _shifts(device: torch.device) -> torch.Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
