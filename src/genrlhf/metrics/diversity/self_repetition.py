"""N-grams that come back in other texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.metrics.diversity.ngrams import Tokenizer, check_orders, ngram_table
from genrlhf.metrics.diversity.set_metric import SetMetric
from genrlhf.metrics.diversity.tokenize import words

__all__ = ["SelfRepetition"]


@dataclass(frozen=True)
class SelfRepetition(SetMetric):
    """How often the n-grams of a text come back in the others: the mean over texts of log(1 + Σ_g m_g).

    The sum goes over the distinct n-grams g of the text, and m_g is the number of other texts of the set with g in
    them. Salkar et al. 2022, "Self-Repetition in Abstractive Neural Summarizers"; in this form Shaib et al. 2024,
    "Standardizing the Measurement of Text Diversity". At least 0 (natural logarithm), **lower is more diverse**; it
    grows with the number and length of texts. NaN for no texts.

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
    n: int = 4
    tokenize: Tokenizer = words

    def __post_init__(self) -> None:
        check_orders(self.n)

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the self-repetition of every set of texts."""
        table = ngram_table(sets, self.tokenize)
        codes, texts = table.ngrams(self.n)
        width = int(codes.max(initial=0)) + 1
        keys = np.unique(texts * width + codes)
        owners, codes = keys // width, keys % width
        _, group, having = np.unique(table.sets[owners] * width + codes, return_inverse=True, return_counts=True)
        others = np.bincount(owners, having[group] - 1, minlength=len(table.lengths))
        sums = np.bincount(table.sets, np.log1p(others), minlength=table.num_sets)
        return [float(total) / len(texts) if len(texts) else math.nan for total, texts in zip(sums, sets, strict=True)]
