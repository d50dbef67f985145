"""What metrics of sets of texts have in common, and what more some can do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrlhf.errors import ModelError
from genrlhf.metrics.diversity.definitions import Definition, check_definition
from genrlhf.metrics.diversity.ngrams import (
    NgramTable,
    Tokenizer,
    check_orders,
    mean_over_orders,
    mean_over_orders_without,
    ngram_table,
    ngram_table_of_set,
)
from genrlhf.metrics.diversity.remarks import WITHOUT_WORDS, warn_of, without_words
from genrlhf.text import pieces_without_stops, words
from genrlhf.types import (
    DiversityMetric,
    HasBounds,
    HasDirection,
    HasRemarks,
    LeavesOut,
    MeasuresSets,
    NeedsTexts,
    UsesLogprobs,
)

__all__ = ["LeaveOut", "OrderMean", "PairDraw", "SetMetric", "TableMetric", "as_set_metric"]

_TEXTS_AT_ONCE = 100_000
"""Of the sets without a block, which hold nearly all texts each."""


@dataclass(frozen=True)
class PairDraw:
    """What drawing some of the pairs of a set does to a mean over them, and to those without some of the texts.

    Each is a mean over some of the m drawn pairs, or a ratio of two; what pair p moves the mean of those in a set S by,
    to first order, is 1/m of::

        z_p = [p in S] (h_p − mean_S h) m / |S|

    Attributes:
        moves: (1 + B, m) float64, z_p of all texts and of those without each block.
        total: M, pairs that there are.
    """

    moves: np.ndarray
    total: int

    @property
    def error(self) -> float:
        """The standard error that the draw gives the mean, that of a sample without replacement."""
        return math.sqrt(self.mean_of(self.moves[0] ** 2))

    def mean_of(self, squares: np.ndarray) -> float:
        """Return the expectation of a square of means from those of what each pair moves them by, (m,)."""
        count = len(squares)
        return float(squares.sum()) / (count * (count - 1)) * (1 - count / self.total)


@dataclass(frozen=True)
class LeaveOut:
    """The value of a set of texts, and its values without each block of them.

    Attributes:
        value: of all texts.
        without: (B,) float64.
        draw: of pairs; None where all of them are taken, or the metric has none.
    """

    value: float
    without: np.ndarray
    draw: PairDraw | None = None


class SetMetric:
    """A metric of sets of texts: what a subclass does not say holds for most."""

    @property
    def name(self) -> str:
        """What it is called in tables and messages."""
        return "the metric"

    @property
    def min_texts(self) -> int:
        """How many texts a set must have for a value."""
        return 1

    @property
    def higher_is_more_diverse(self) -> bool:
        """Whether a higher value means more diverse texts; otherwise it measures sameness."""
        return True

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the largest value that there can be, where they are known."""
        return None

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the value of every set of texts."""
        raise NotImplementedError

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` do not count as they stand, by what becomes of them (see `HasRemarks`)."""
        return {}

    def remarks_of(self, sets: Sequence[Sequence[str]]) -> Mapping[str, int]:
        """Return the `remarks` on the texts of all sets."""
        return self.remarks([text for texts in sets for text in texts])

    def __call__(self, texts: Sequence[str]) -> float:
        """Return the value of `texts`, and warn of those that do not count as they stand."""
        value = self.batch([texts])[0]
        warn_of(self.name, self.remarks(texts), len(texts))
        return value

    def values(
        self, sets: Sequence[Sequence[str]], logprobs: Sequence[Sequence[Sequence[float]]] | None = None
    ) -> np.ndarray:
        """Return the value of every set of texts, (sets,) float64.

        Args:
            sets: of texts.
            logprobs: of every token of every text, for a metric that uses them.

        Raises:
            ModelError: `batch` does not return one number a set.
        """
        if logprobs is not None and isinstance(self, UsesLogprobs):
            return _checked(self.batch_with_logprobs(sets, logprobs), len(sets), self.name)
        return _checked(self.batch(sets), len(sets), self.name)

    def left_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> LeaveOut:
        """Return the value of `texts`, and those without each block of indices; NaN where nothing is left."""
        if isinstance(self, LeavesOut):
            value, without = self.leave_out(texts, blocks)
            return LeaveOut(float(value), _checked(without, len(blocks), self.name))
        kept = np.ones((len(blocks), len(texts)), dtype=bool)
        for row, block in zip(kept, blocks, strict=True):
            row[list(block)] = False
        values = self.values([texts]).tolist()
        step = max(1, _TEXTS_AT_ONCE // max(1, len(texts)))
        for start in range(0, len(blocks), step):
            sets = [[texts[i] for i in np.flatnonzero(row).tolist()] for row in kept[start : start + step]]
            found = iter(self.values([left for left in sets if left]).tolist())
            values += [next(found) if left else math.nan for left in sets]
        return LeaveOut(values[0], np.array(values[1:], dtype=np.float64))


class _Adapted(SetMetric):
    """A metric of somebody else's, with what it says of itself."""

    def __init__(self, metric: DiversityMetric) -> None:
        self.metric = metric

    @property
    def name(self) -> str:
        return str(self.metric.name) if isinstance(self.metric, DiversityMetric) else "the metric"

    @property
    def min_texts(self) -> int:
        return int(self.metric.min_texts) if isinstance(self.metric, NeedsTexts) else 1

    @property
    def higher_is_more_diverse(self) -> bool:
        return not isinstance(self.metric, HasDirection) or bool(self.metric.higher_is_more_diverse)

    @property
    def bounds(self) -> tuple[float, float] | None:
        return self.metric.bounds if isinstance(self.metric, HasBounds) else None

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        if not isinstance(self.metric, MeasuresSets):
            return [float(self.metric(texts)) for texts in sets]
        return list(self.metric.batch(sets))

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        return self.metric.remarks(texts) if isinstance(self.metric, HasRemarks) else {}

    def left_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> LeaveOut:
        if not isinstance(self.metric, LeavesOut):
            return super().left_out(texts, blocks)
        value, without = self.metric.leave_out(texts, blocks)
        return LeaveOut(float(value), _checked(without, len(blocks), self.name))


def as_set_metric(metric: DiversityMetric) -> SetMetric:
    """Return a metric with all that a `SetMetric` has; what it does not say of itself is as for most."""
    return metric if isinstance(metric, SetMetric) else _Adapted(metric)


def _checked(values: Any, count: int, name: str) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (count,):
        raise ModelError(
            f"{name} returned values of shape {found.shape} for {count} sets of texts; return one number a set, in "
            "their order, and NaN where it is undefined."
        )
    return found


class CountsWords(SetMetric):
    """A metric to which a text without words is none."""

    def splitter(self) -> Tokenizer:
        """Return what splits a text into words."""
        raise NotImplementedError

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` have no words."""
        return without_words(texts, self.splitter())

    def remarks_of(self, sets: Sequence[Sequence[str]]) -> Mapping[str, int]:
        """Return how many texts of all sets have no words, splitting none that is split already."""
        count = int((ngram_table(sets, self.splitter()).lengths == 0).sum())
        return {WITHOUT_WORDS: count} if count else {}


class TableMetric(CountsWords):
    """A metric that sees texts as a table of their n-grams."""

    def of_table(self, table: NgramTable) -> list[float]:
        """Return the value of every set of a table."""
        raise NotImplementedError

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the value of every set of texts."""
        return self.of_table(ngram_table(sets, self.splitter()))

    def left_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> LeaveOut:
        """Return the value of `texts`, and those without each block of indices, splitting every text once."""
        table = ngram_table_of_set(texts, self.splitter())
        without = [self.of_table(table.without(block))[0] for block in blocks]
        return LeaveOut(self.of_table(table)[0], np.array(without, dtype=np.float64))


class OrderMean(CountsWords):
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

    def splitter(self) -> Tokenizer:
        """Return what splits a text into words."""
        return self.tokenize or (pieces_without_stops if self.definition == "released-code" else words)

    def _settings(self) -> dict[str, Any]:
        released = self.definition == "released-code"
        return {
            "orders": check_orders(self.n),
            "tokenize": self.splitter(),
            "score": self._score,
            "missing": 0.0 if released else None,
        }

    def _score(self, distinct: np.ndarray, total: np.ndarray) -> np.ndarray:
        """Return the value of every set for one order, from its numbers of distinct and of all n-grams."""
        raise NotImplementedError
