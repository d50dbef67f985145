"""What readers of a figure must know of the texts behind it: how many do not count as they stand."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrlhf.text import has_words, terms, words

__all__ = [
    "WITHOUT_WORDS",
    "Remarks",
    "cut_remark",
    "described",
    "longer_than",
    "most_tokens",
    "warn_of",
    "without_words",
]


_UNLIMITED = 1_000_000
"""Tokenizers without a longest text say a number far beyond this."""

WITHOUT_WORDS = "have no words and are left out"


@dataclass
class Remarks:
    """What a metric says of many texts.

    Attributes:
        counts: how many of them do not count as they stand, by what becomes of them.
        total: texts that it was asked about.
    """

    counts: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def add(self, found: Mapping[str, int], total: int) -> None:
        """Count what it says of so many more texts."""
        self.counts.update(found)
        self.total += total

    def lines(self) -> list[str]:
        """Return a sentence without its end for everything that it says."""
        return described(self.counts, self.total)


def without_words(texts: Sequence[str], tokenize: Callable[[str], Sequence[str]]) -> dict[str, int]:
    """Return the remark on texts that a tokenizer finds no words in."""
    count = sum(1 for text in texts if not (has_words(text) if tokenize in (words, terms) else tokenize(text)))
    return {WITHOUT_WORDS: count} if count else {}


def cut_remark(count: int, limit: int) -> dict[str, int]:
    """Return the remark on texts that an encoder sees only the first `limit` tokens of."""
    return {f"are longer than the limit of {limit} tokens of the encoder and are cut there": count} if count else {}


def longer_than(limit: int, texts: Sequence[str], tokenizer: Any) -> list[int]:
    """Return which texts have more tokens than `limit`, those that begin and end a text included.

    Args:
        limit: tokens.
        texts: by their rows.
        tokenizer: of transformers; of any other it is not known.
    """
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return []
    # A token is a byte at least, but for the few that begin and end a text: most texts need no second look.
    rows = [row for row, text in enumerate(texts) if len(text.encode()) + 8 > limit]
    if not rows:
        return []
    encoded = tokenizer([texts[row] for row in rows], truncation=False, padding=False, verbose=False)
    return [row for row, ids in zip(rows, encoded["input_ids"], strict=True) if len(ids) > limit]


def most_tokens(tokenizer: Any, config: Any) -> int | None:
    """Return how many tokens of a text fit, None for any number."""
    if tokenizer.model_max_length < _UNLIMITED:
        return int(tokenizer.model_max_length)
    positions = getattr(config, "max_position_embeddings", None)
    # RoBERTa's positions begin behind that of its padding.
    return None if not positions or positions < 3 else int(positions) - (2 if "roberta" in config.model_type else 0)


def described(remarks: Mapping[str, int], total: int) -> list[str]:
    """Return remarks on so many texts as sentences without their ends."""
    return [f"{count} of {total} texts ({count / total:.1%}) {reason}" for reason, count in remarks.items()]


def warn_of(name: str, remarks: Mapping[str, int], total: int, *, stacklevel: int = 3) -> None:
    """Warn of what the metric of this name says of so many texts."""
    for line in described(remarks, total):
        warnings.warn(f"{name}: {line}.", stacklevel=stacklevel)
