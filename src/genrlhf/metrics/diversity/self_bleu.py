"""BLEU of every text against the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.metrics.diversity.ngrams import NgramTable, Tokenizer, check_orders
from genrlhf.metrics.diversity.set_metric import TableMetric
from genrlhf.text import words

__all__ = ["SelfBLEU"]

_EPSILON = 0.1
"""What stands for no match at all, in the first smoothing method of Chen & Cherry 2014."""


@dataclass(frozen=True)
class SelfBLEU(TableMetric):
    """The mean over texts of the BLEU score of one text with all others of the set as its references.

    Zhu et al. 2018, "Texygen: A Benchmarking Platform for Text Generation Models". BLEU (Papineni et al. 2002) is the
    geometric mean of the clipped precisions of orders 1 … n times the brevity penalty, here of single texts, where an
    order without a match counts 0.1 matches (Chen & Cherry 2014, method 1), and a text without a known word 0. Of a
    text with fewer than n words the orders that it has count, so that equal texts score 1 however short. In [0, 1],
    **lower is more diverse**; it grows with the number of texts. Texts without words are left out. NaN for fewer than
    2 texts.

    Attributes:
        n: the highest order of n-grams.
        tokenize: splits a text into words.

    Raises:
        ConfigError: for an order below 1.

    Example:
        >>> round(SelfBLEU(n=2)(["a b c", "a b d", "a b c"]), 6)  # (1 + (2/3 · 1/2)^½ + 1) / 3
        0.859117
    """

    name: ClassVar[str] = "self_bleu"
    higher_is_more_diverse: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    min_texts: ClassVar[int] = 2
    n: int = 4
    tokenize: Tokenizer = words

    def __post_init__(self) -> None:
        check_orders(self.n)

    def splitter(self) -> Tokenizer:
        """Return what splits a text into words."""
        return self.tokenize

    def of_table(self, table: NgramTable) -> list[float]:
        """Return the Self-BLEU of every set of texts."""
        there = table.lengths > 0
        orders = np.minimum(np.maximum(table.lengths, 1), self.n)
        logs = np.zeros(len(table.lengths))
        known = there
        for n in range(1, self.n + 1):
            matches = _matches(table, n)
            if n == 1:
                known = matches > 0
            total = np.maximum(table.lengths - n + 1, 1)
            logs += np.where(n <= orders, np.log(np.where(matches > 0, matches, _EPSILON) / total) / orders, 0)
        bleu = np.where(known, np.exp(logs + _log_brevity(table, there)), 0.0)
        sums = np.bincount(table.sets, bleu, minlength=table.num_sets).tolist()
        counts = np.bincount(table.sets[there], minlength=table.num_sets).tolist()
        return [total / count if count > 1 else math.nan for total, count in zip(sums, counts, strict=True)]


def _matches(table: NgramTable, n: int) -> np.ndarray:
    """Return how many n-grams of every text match, each at most as often as in the other text that has it most."""
    found = table.text_counts(n)
    if not len(found.groups):
        return np.zeros(len(table.lengths))
    starts = np.flatnonzero(np.r_[True, found.groups[1:] != found.groups[:-1]])
    sizes = np.diff(np.r_[starts, len(found.groups)])
    most = np.repeat(np.maximum.reduceat(found.counts, starts), sizes)
    has_most = found.counts == most
    alone = has_most & np.repeat(np.add.reduceat(has_most.astype(np.int32), starts) == 1, sizes)
    second = np.repeat(np.maximum.reduceat(np.where(has_most, 0, found.counts), starts), sizes)
    clipped = np.minimum(found.counts, np.where(alone, second, most))
    return np.bincount(found.texts, clipped, minlength=len(table.lengths))


def _log_brevity(table: NgramTable, there: np.ndarray) -> np.ndarray:
    """Return the logarithm of every text's brevity penalty, by the closest length of another, the shorter of two.

    Args:
        table: of the texts.
        there: (texts,) bool, which of them count.
    """
    lengths, sets = table.lengths[there], table.sets[there]
    order = np.lexsort((lengths, sets))
    sorted_lengths, sorted_sets = lengths[order], sets[order]
    same = sorted_sets[1:] == sorted_sets[:-1]
    far = np.iinfo(np.int64).max // 4
    shorter = np.r_[-far, np.where(same, sorted_lengths[:-1], -far)][: len(order)]
    longer = np.r_[np.where(same, sorted_lengths[1:], far), far][: len(order)]
    closest = np.where(sorted_lengths - shorter <= longer - sorted_lengths, shorter, longer)
    brevity = np.zeros(len(table.lengths))
    brevity[np.flatnonzero(there)[order]] = np.minimum(0.0, 1 - closest / sorted_lengths)
    return brevity
