"""N-grams that come back in other texts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.metrics.diversity.ngrams import NgramTable, Tokenizer, check_orders
from genrlhf.metrics.diversity.set_metric import TableMetric
from genrlhf.text import words

__all__ = ["SelfRepetition"]


@dataclass(frozen=True)
class SelfRepetition(TableMetric):
    """How often the n-grams of a text come back in the others: the mean over texts of log(1 + Σ_g m_g).

    The sum goes over the distinct n-grams g of the text, and m_g is the number of other texts of the set with g in
    them. Salkar et al. 2022, "Self-Repetition in Abstractive Neural Summarizers"; in this form Shaib et al. 2024,
    "Standardizing the Measurement of Text Diversity". At least 0 (natural logarithm), **lower is more diverse**; it
    grows with the number and length of texts. A text of fewer than n words counts as one n-gram, which others have in
    them where its words stand in them in a row. Texts without words are left out. NaN for fewer than 2 texts.

    Attributes:
        n: the order of the n-grams.
        tokenize: splits a text into words; Shaib et al. take `str.split`.

    Raises:
        ConfigError: for an order below 1.

    Example:
        >>> round(SelfRepetition(2)(["a b c", "a b d", "e f"]), 6)  # (log 2 + log 2 + log 1) / 3
        0.462098
    """

    name: ClassVar[str] = "self_repetition"
    higher_is_more_diverse: ClassVar[bool] = False
    min_texts: ClassVar[int] = 2
    n: int = 4
    tokenize: Tokenizer = words

    def __post_init__(self) -> None:
        check_orders(self.n)

    def splitter(self) -> Tokenizer:
        """Return what splits a text into words."""
        return self.tokenize

    def of_table(self, table: NgramTable) -> list[float]:
        """Return the self-repetition of every set of texts."""
        others = _found_elsewhere(table, self.n)
        for order in range(1, self.n):
            if (table.lengths == order).any():
                others += np.where(table.lengths == order, _found_elsewhere(table, order), 0)
        sums = np.bincount(table.sets, np.log1p(others), minlength=table.num_sets).tolist()
        counts = np.bincount(table.sets[table.lengths > 0], minlength=table.num_sets).tolist()
        return [total / count if count > 1 else math.nan for total, count in zip(sums, counts, strict=True)]


def _found_elsewhere(table: NgramTable, n: int) -> np.ndarray:
    """Return how often the distinct n-grams of every text are in another text of its set, (texts,) float64."""
    found = table.text_counts(n)
    having = np.bincount(found.groups)
    return np.bincount(found.texts, having[found.groups] - 1.0, minlength=len(table.lengths)).astype(np.float64)
