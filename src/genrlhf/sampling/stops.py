"""Strings that end a completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["StopStrings"]


class StopStrings:
    """Finds stop strings in completions while they grow, wherever the borders of their tokens lie.

    Args:
        tokenizer: decodes the completions.
        stops: the strings, at least one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = tuple(stops)
        # A token is at least a byte, special tokens apart, for which there is some room.
        self.window = max(len(stop.encode()) for stop in stops) + 8

    def found(self, ids: Sequence[int]) -> bool:
        """Say whether the last token of a completion completes a stop string."""
        return self._place(ids[-self.window :])[1] is not None

    def cut(self, ids: Sequence[int]) -> str:
        """Return the text of a completion, up to the stop string that its last token completes."""
        text, place = self._place(ids)
        return text[:place]

    def _place(self, ids: Sequence[int]) -> tuple[str, int | None]:
        text, before = self._decode(ids), self._decode(ids[:-1])
        # Half a character shows as a replacement character until its last byte has come.
        settled = len(before.rstrip("\ufffd"))
        places = [text.find(stop, max(0, settled - len(stop) + 1)) for stop in self.stops]
        return text, min((place for place in places if place >= 0), default=None)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text
