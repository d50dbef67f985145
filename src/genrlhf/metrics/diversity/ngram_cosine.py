"""Cosine similarity of n-gram counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.metrics.diversity.definitions import Definition, check_definition
from genrlhf.metrics.diversity.ngrams import NgramTable, Tokenizer, check_orders
from genrlhf.metrics.diversity.set_metric import TableMetric
from genrlhf.text import pieces_without_stops, words

__all__ = ["NgramCosine"]


@dataclass(frozen=True)
class NgramCosine(TableMetric):
    """One minus the mean cosine similarity of the n-gram counts of two different texts of a set.

    With c_i the vector of how often each n-gram is in text i::

        D = 1 − 2 / (K (K − 1)) Σ_{i<j} c_i · c_j / (|c_i| |c_j|)          in [0, 1]

    averaged over orders n. Tevet & Berant 2021, "Evaluating the Evaluation of Diversity in Natural Language
    Generation", section 5 (cos-sim, n = 1 … 5; they report the negated mean, which is this less 1). Higher is more
    diverse. Of two texts only the orders count that one of them has n-grams of, so that equal texts are equal however
    short; a text without n-grams is unlike one that has some. Texts without words are left out. NaN for fewer than 2
    texts.

    Attributes:
        n: an order of n-grams, or several, whose values are averaged; by default 1 … 5, and 3 for "released-code".
        tokenize: splits a text into words; by default `words`.
        definition: "released-code" does as the code of Kirk et al. 2024: trigrams alone, of what blanks separate,
            without full stops. The other two do not differ.

    Raises:
        ConfigError: for an order below 1.

    Example:
        >>> round(NgramCosine(1)(["a b", "a c", "d"]), 6)  # 1 − (1/2 + 0 + 0) / 3
        0.833333
    """

    name: ClassVar[str] = "ngram_cosine"
    higher_is_more_diverse: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    min_texts: ClassVar[int] = 2
    n: int | Sequence[int] | None = None
    tokenize: Tokenizer | None = None
    definition: Definition = "published"

    def __post_init__(self) -> None:
        check_definition(self.definition)
        check_orders(self._orders())

    def _orders(self) -> int | Sequence[int]:
        if self.n is not None:
            return self.n
        return 3 if self.definition == "released-code" else (1, 2, 3, 4, 5)

    def splitter(self) -> Tokenizer:
        """Return what splits a text into words."""
        return self.tokenize or (pieces_without_stops if self.definition == "released-code" else words)

    def of_table(self, table: NgramTable) -> list[float]:
        """Return the diversity of every set of texts."""
        sums, pairs = _sums_of_cosines(table, sorted(set(check_orders(self._orders()))))
        return [1 - total / count if count else math.nan for total, count in zip(sums, pairs, strict=True)]


def _sums_of_cosines(table: NgramTable, orders: Sequence[int]) -> tuple[list[float], list[int]]:
    """Return the sum of the pairs' mean cosines over the orders that they have, and the number of such pairs, by set.

    A pair whose longer text has n-grams of the first j orders has j of them. The sum over those pairs is that over all
    texts that have no more than j, less that over all that have no more than j − 1.
    """
    sums, pairs = np.zeros(table.num_sets), np.zeros(table.num_sets, dtype=np.int64)
    has = np.searchsorted(orders, table.lengths, side="right")
    before, pairs_before = sums.copy(), _pairs(table, (table.lengths > 0) & (has == 0))
    units: list[_Units] = []
    for j in range(1, len(orders) + 1):
        units.append(_Units(table, orders[j - 1]))
        within = (table.lengths > 0) & (has <= j)
        found, count = before, pairs_before
        if (within & (has == j)).any():
            found = np.sum([each.sums(within) for each in units], axis=0)
            count = _pairs(table, within)
        sums += (found - before) / j
        pairs += count - pairs_before
        before, pairs_before = found, count
    return sums.tolist(), pairs.tolist()


def _pairs(table: NgramTable, within: np.ndarray) -> np.ndarray:
    """Return the number of ordered pairs of two of these texts in every set, (sets,) int64."""
    sizes = np.bincount(table.sets[within], minlength=table.num_sets)
    return sizes * (sizes - 1)


class _Units:
    """The n-gram counts of texts, scaled to length 1."""

    def __init__(self, table: NgramTable, n: int) -> None:
        self.table = table
        self.counts = table.text_counts(n)
        squares = self.counts.counts.astype(np.float64) ** 2
        self.lengths = np.sqrt(np.bincount(self.counts.texts, squares, minlength=len(table.lengths)))
        self.values = self.counts.counts / self.lengths[self.counts.texts]

    def sums(self, within: np.ndarray) -> np.ndarray:
        """Return the sum of the cosines of all ordered pairs of two of these texts in every set, (sets,) float64."""
        values = np.where(within[self.counts.texts], self.values, 0.0)
        # Σ_{i≠j} u_i · u_j = |Σ u_i|² − Σ |u_i|², where |u_i| is 1 for a text that has n-grams.
        squares = np.bincount(self.counts.groups, values, minlength=len(self.counts.sets)) ** 2
        totals = np.bincount(self.counts.sets, squares, minlength=self.table.num_sets)
        alone = np.bincount(self.table.sets[within & (self.lengths > 0)], minlength=self.table.num_sets)
        difference: np.ndarray = totals - alone
        return difference
