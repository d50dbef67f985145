"""Cosine similarity of n-gram counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.metrics.diversity.definitions import Definition, check_definition
from genrlhf.metrics.diversity.ngrams import NgramTable, Tokenizer, check_orders, ngram_table
from genrlhf.metrics.diversity.set_metric import SetMetric
from genrlhf.metrics.diversity.tokenize import pieces_without_stops, words

__all__ = ["NgramCosine"]


@dataclass(frozen=True)
class NgramCosine(SetMetric):
    """One minus the mean cosine similarity of the n-gram counts of two different texts of a set.

    With c_i the vector of how often each n-gram is in text i::

        D = 1 − 2 / (K (K − 1)) Σ_{i<j} c_i · c_j / (|c_i| |c_j|)          in [0, 1]

    averaged over orders n. Tevet & Berant 2021, "Evaluating the Evaluation of Diversity in Natural Language
    Generation", section 5 (cos-sim, n = 1 … 5; they report the negated mean, which is this less 1). Higher is more
    diverse. A text without n-grams is unlike all others. NaN for fewer than 2 texts.

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

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the diversity of every set of texts."""
        default = pieces_without_stops if self.definition == "released-code" else words
        table = ngram_table(sets, self.tokenize or default)
        similarity = np.mean([_similarity(table, n) for n in check_orders(self._orders())], axis=0)
        return [1 - float(value) if len(texts) > 1 else math.nan for value, texts in zip(similarity, sets, strict=True)]


def _similarity(table: NgramTable, n: int) -> np.ndarray:
    """Return the mean cosine similarity of the n-gram counts of two texts of every set, (sets,) float64."""
    codes, texts = table.ngrams(n)
    width = int(codes.max(initial=0)) + 1
    keys, counts = np.unique(texts * width + codes, return_counts=True)
    owners, codes = keys // width, keys % width
    lengths = np.sqrt(np.bincount(owners, counts.astype(float) ** 2, minlength=len(table.lengths)))
    units = counts / lengths[owners]
    # Σ_{i≠j} u_i · u_j = |Σ u_i|² − Σ |u_i|², where |u_i| is 1 for a text that has n-grams.
    places, group = np.unique(table.sets[owners] * width + codes, return_inverse=True)
    squares = np.bincount(group, units, minlength=len(places)) ** 2
    sums = np.bincount(places // width, squares, minlength=table.num_sets)
    with_ngrams = np.bincount(table.sets[lengths > 0], minlength=table.num_sets)
    sizes = np.bincount(table.sets, minlength=table.num_sets)
    mean: np.ndarray = (sums - with_ngrams) / np.maximum(sizes * (sizes - 1), 1)
    return mean
