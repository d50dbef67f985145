"""Tokens that cannot occur at the first places of a completion."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["EarlyTokens"]


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
