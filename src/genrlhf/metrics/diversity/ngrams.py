"""Counts of n-grams in sets of texts, each text split into words once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np

from genrlhf.errors import ConfigError
from genrlhf.metrics.checks import check_texts

__all__ = [
    "NgramTable",
    "TextSet",
    "TextSets",
    "Tokenizer",
    "check_orders",
    "mean_over_orders",
    "mean_over_orders_without",
    "ngram_table",
    "ngram_table_of_set",
]

Tokenizer: TypeAlias = Callable[[str], Sequence[str]]
"""Splits a text into words."""


def check_orders(n: int | Sequence[int]) -> tuple[int, ...]:
    """Return the orders as a tuple, or raise `ConfigError` unless there is at least one and all are at least 1."""
    orders = (n,) if isinstance(n, int) else tuple(n)
    if not orders or any(not isinstance(order, int) or order < 1 for order in orders):
        raise ConfigError(f"n is {n!r}; give an order of n-grams of at least 1, or several, such as (1, 2, 3, 4, 5).")
    return orders


@dataclass(frozen=True)
class TextCounts:
    """How often every text has each of its n-grams, equal n-grams of the texts of a set side by side.

    Attributes:
        texts: (entries,) int32, whose n-gram it is.
        groups: (entries,) int32, which n-gram of which set, numbered from 0 in their order.
        counts: (entries,) int32, how often, at least once.
        sets: (groups,) int32, of every group.
    """

    texts: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    sets: np.ndarray

    def where(self, kept: np.ndarray) -> TextCounts:
        """Return those of the texts that are `kept`, (texts,) bool, by the same groups."""
        entries = kept[self.texts]
        return TextCounts(self.texts[entries], self.groups[entries], self.counts[entries], self.sets)


class NgramTable:
    """The n-grams of many texts as numbers; none spans two texts.

    Args:
        texts: of all sets.
        tokenize: splits a text into words; equal texts are split once.
        sets: (texts,) int64, the set that each text belongs to, from 0.
        num_sets: sets, some of which may have no text.

    Attributes:
        lengths: (texts,) int64, words of every text.
    """

    def __init__(self, texts: Iterable[str], tokenize: Tokenizer, sets: np.ndarray, num_sets: int) -> None:
        numbers: dict[str, int] = {}
        flat = array("i")
        ends = array("q", [0])
        places: dict[str, int] = {}
        for number, text in enumerate(texts):
            first = places.setdefault(text, number)
            if first == number:
                flat.extend([numbers.setdefault(word, len(numbers)) for word in tokenize(text)])
            else:
                flat.extend(flat[ends[first] : ends[first + 1]])
            ends.append(len(flat))
        bounds = np.array(ends, dtype=np.int64)
        self.lengths: np.ndarray = bounds[1:] - bounds[:-1]
        self.sets = sets
        self.num_sets = num_sets
        self._counts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._text_counts: dict[int, TextCounts] = {}
        owners = np.repeat(np.arange(len(self.lengths), dtype=np.int32), self.lengths)
        self._orders = [(np.array(flat, dtype=np.int32), owners)]

    def ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a number for every n-gram, equal for equal ones, and the text of each, both (n-grams,) int32."""
        while len(self._orders) < n:
            self._orders.append(self._extend(len(self._orders)))
        return self._orders[n - 1]

    def _extend(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the n-grams of order n + 1: pairs of one of order n and the next of the same text."""
        codes, texts = self._orders[n - 1]
        followed = texts[1:] == texts[:-1]
        pairs = codes[:-1][followed] * (int(codes.max(initial=0)) + np.int64(1)) + codes[1:][followed]
        return np.unique(pairs, return_inverse=True)[1].astype(np.int32), texts[:-1][followed]

    def counts(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return how many n-grams of every set are distinct, and how many there are, both (sets,) int64."""
        if n not in self._counts:
            codes, texts = self.ngrams(n)
            width = int(codes.max(initial=0)) + 1
            sets = self.sets[texts]
            keys = np.sort(sets * width + codes)
            new = np.r_[True, keys[1:] != keys[:-1]][: len(keys)]
            self._counts[n] = (
                np.bincount(keys[new] // width, minlength=self.num_sets),
                np.bincount(sets, minlength=self.num_sets),
            )
        return self._counts[n]

    def counts_without(self, n: int, parts: np.ndarray, num_parts: int) -> tuple[np.ndarray, np.ndarray]:
        """Return how many n-grams are distinct, and how many there are, without each part of the texts, (parts,) int64.

        Args:
            n: the order.
            parts: (texts,) int64, the part of every text, from 0.
            num_parts: how many parts.
        """
        codes, texts = self.ngrams(n)
        owners = parts[texts]
        keys = np.unique(codes.astype(np.int64) * num_parts + owners)
        codes_of, parts_of = keys // num_parts, keys % num_parts
        changes = codes_of[1:] != codes_of[:-1]
        alone = np.r_[True, changes][: len(keys)] & np.r_[changes, True][: len(keys)]
        lost = np.bincount(parts_of[alone], minlength=num_parts)
        distinct = int(changes.sum()) + min(len(keys), 1)
        return distinct - lost, len(codes) - np.bincount(owners, minlength=num_parts)

    def text_counts(self, n: int) -> TextCounts:
        """Return how often every text has each of its n-grams."""
        if n not in self._text_counts:
            codes, texts = self.ngrams(n)
            width, count = int(codes.max(initial=0)) + 1, max(1, len(self.lengths))
            keys, counts = np.unique((self.sets[texts] * width + codes) * count + texts, return_counts=True)
            places = keys // count
            new = np.r_[True, places[1:] != places[:-1]][: len(keys)]
            self._text_counts[n] = TextCounts(
                (keys % count).astype(np.int32),
                (np.cumsum(new) - 1).astype(np.int32),
                counts.astype(np.int32),
                (places[new] // width).astype(np.int32),
            )
        return self._text_counts[n]

    def without(self, left_out: Sequence[int]) -> NgramTable:
        """Return the table as it would be if these texts had no words, in no more time than it takes to look at it."""
        return _PartOfTable(self, left_out)


class _PartOfTable(NgramTable):
    """What is left of a table without the words of some texts; n-grams keep their numbers."""

    def __init__(self, whole: NgramTable, left_out: Sequence[int]) -> None:
        self.kept = np.ones(len(whole.lengths), dtype=bool)
        self.kept[list(left_out)] = False
        self.whole = whole
        self.lengths = np.where(self.kept, whole.lengths, 0)
        self.sets = whole.sets
        self.num_sets = whole.num_sets

    def ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        codes, texts = self.whole.ngrams(n)
        there = self.kept[texts]
        return codes[there], texts[there]

    def text_counts(self, n: int) -> TextCounts:
        return self.whole.text_counts(n).where(self.kept)


class TextSets(list[list[str]]):
    """Sets of texts whose words are split and counted once, whatever number of metrics look at them.

    Args:
        sets: as a list of lists, which it is; it is not to be changed.

    Raises:
        DataError: naming the set and row of what is no string.
    """

    def __init__(self, sets: Sequence[Sequence[str]]) -> None:
        several = len(sets) > 1
        super().__init__(check_texts(texts, f"set {row}" if several else "texts") for row, texts in enumerate(sets))
        self._tables: list[tuple[Tokenizer, NgramTable]] = []

    def table(self, tokenize: Tokenizer) -> NgramTable:
        """Return the n-grams of the texts."""
        for known, table in self._tables:
            if known is tokenize:
                return table
        owners = np.repeat(np.arange(len(self)), [len(texts) for texts in self])
        table = NgramTable(chain.from_iterable(self), tokenize, owners, len(self))
        self._tables.append((tokenize, table))
        return table


class TextSet(list[str]):
    """One set of texts whose words are split and counted once; a list of them, which is not to be changed."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(texts)
        self._alone: TextSets | None = None

    def alone(self) -> TextSets:
        """Return the one set as a list of sets."""
        if self._alone is None:
            self._alone = TextSets([self])
        return self._alone


def ngram_table(sets: Sequence[Sequence[str]], tokenize: Tokenizer) -> NgramTable:
    """Return the n-grams of sets of texts: those that `TextSets` have already, or new ones.

    Raises:
        DataError: naming the set and row of what is no string.
    """
    return (sets if isinstance(sets, TextSets) else TextSets(sets)).table(tokenize)


def ngram_table_of_set(texts: Sequence[str], tokenize: Tokenizer) -> NgramTable:
    """Return the n-grams of one set of texts: those that a `TextSet` has already, or new ones."""
    return (texts if isinstance(texts, TextSet) else TextSet(texts)).alone().table(tokenize)


def mean_over_orders(
    sets: Sequence[Sequence[str]],
    orders: Sequence[int],
    tokenize: Tokenizer,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    missing: float | None = None,
) -> list[float]:
    """Return, for every set, the mean over orders of `score(distinct, total)`.

    Args:
        sets: sets of texts.
        orders: orders of n-grams.
        tokenize: splits a text into words.
        score: of arrays (sets,) with `total` at least 1.
        missing: what an order counts that a set has no n-grams of; None leaves it out of the mean, which is NaN for a
            set without a single word.
    """
    table = ngram_table(sets, tokenize)
    counts = [table.counts(n) for n in orders]
    return _means(counts, score, missing)


def mean_over_orders_without(
    texts: Sequence[str],
    blocks: Sequence[Sequence[int]],
    orders: Sequence[int],
    tokenize: Tokenizer,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    missing: float | None = None,
) -> tuple[float, list[float]]:
    """Return `mean_over_orders` of one set, and of what is left of it without each block of texts.

    Args:
        texts: the set.
        blocks: indices of texts, each in one block at most.
        orders: as of `mean_over_orders`.
        tokenize: as of `mean_over_orders`.
        score: as of `mean_over_orders`.
        missing: as of `mean_over_orders`.
    """
    table = ngram_table_of_set(texts, tokenize)
    parts = np.full(len(table.lengths), len(blocks), dtype=np.int64)
    for number, block in enumerate(blocks):
        parts[list(block)] = number
    (value,) = _means([table.counts(n) for n in orders], score, missing)
    without = _means([table.counts_without(n, parts, len(blocks) + 1) for n in orders], score, missing)
    return value, without[:-1]


def _means(
    counts: Sequence[tuple[np.ndarray, np.ndarray]],
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    missing: float | None,
) -> list[float]:
    """Return the means over orders of the scores of many sets, from the counts of every order."""
    scores = [
        np.where(total > 0, score(distinct, np.maximum(total, 1)), math.nan).tolist() for distinct, total in counts
    ]
    return [_mean(of_one_set, missing) for of_one_set in zip(*scores, strict=True)]


def _mean(scores: Sequence[float], missing: float | None) -> float:
    defined = [score for score in scores if not math.isnan(score)]
    if missing is not None:
        defined += [missing] * (len(scores) - len(defined))
    return sum(defined) / len(defined) if defined else math.nan
