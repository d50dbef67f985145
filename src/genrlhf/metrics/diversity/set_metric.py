"""What metrics that measure many sets of texts at once have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genrlhf.metrics.diversity.definitions import Definition, check_definition
from genrlhf.metrics.diversity.ngrams import Tokenizer, check_orders, mean_over_orders, mean_over_orders_without
from genrlhf.metrics.diversity.tokenize import pieces_without_stops, words

__all__ = ["OrderMean", "SetMetric"]


class SetMetric:
    """A metric whose value for one set is that of the only one of many."""

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the value of every set of texts."""
        raise NotImplementedError

    def __call__(self, texts: Sequence[str]) -> float:
        """Return the value of `texts`."""
        return self.batch([texts])[0]


class OrderMean(SetMetric):
    """A mean over orders of n-grams of what the numbers of distinct and of all n-grams give."""

    n: Any
    tokenize: Tokenizer | None
    definition: Definition

    def __post_init__(self) -> None:
        check_orders(self.n)
        check_definition(self.definition)

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
            "score": self._score,
            "missing": 0.0 if released else None,
        }

    def _score(self, distinct: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Return the value of every set for one order, from its numbers of distinct and of all n-grams."""
        raise NotImplementedError
