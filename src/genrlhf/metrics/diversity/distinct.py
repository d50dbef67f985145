"""Distinct n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from genrlhf.metrics.diversity.definitions import Definition, check_definition
from genrlhf.metrics.diversity.ngrams import Tokenizer, check_orders, mean_over_orders, mean_over_orders_without
from genrlhf.metrics.diversity.tokenize import pieces_without_stops, words

__all__ = ["DistinctN"]


@dataclass(frozen=True)
class DistinctN:
    """The share of n-grams that are distinct: N / C, with N distinct n-grams among C in the whole set of texts.

    Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models". In (0, 1], higher is more
    diverse. It falls with the amount of text; `EAD` corrects for that. NaN for texts without a single word.

    Attributes:
        n: an order of n-grams, or several, whose values are averaged. Orders longer than every text are left out.
        tokenize: splits a text into words; by default `words`.
        definition: "released-code" does as the code of Kirk et al. 2024: words are what blanks separate, without full
            stops, and an order longer than every text counts 0. The other two do not differ.

    Raises:
        ConfigError: for an order below 1.

    Example:
        >>> DistinctN(1)(["a b", "a c"])
        0.75
    """

    name: ClassVar[str] = "distinct_n"
    higher_is_more_diverse: ClassVar[bool] = True
    n: int | Sequence[int] = (1, 2, 3, 4, 5)
    tokenize: Tokenizer | None = None
    definition: Definition = "published"

    def __post_init__(self) -> None:
        check_orders(self.n)
        check_definition(self.definition)

    def __call__(self, texts: Sequence[str]) -> float:
        """Return the diversity of `texts`."""
        return self.batch([texts])[0]

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the diversity of every set of texts."""
        return mean_over_orders(sets, **self._settings())

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, list[float]]:
        """Return the diversity of `texts`, and that without each block of indices, counting every text once."""
        return mean_over_orders_without(texts, blocks, **self._settings())

    def _settings(self) -> dict[str, Any]:
        released = self.definition == "released-code"
        return {
            "orders": check_orders(self.n),
            "tokenize": self.tokenize or (pieces_without_stops if released else words),
            "score": np.divide,
            "missing": 0.0 if released else None,
        }
