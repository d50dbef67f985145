"""Means over pairs of the texts of a set, of all pairs or of some that are drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.errors import ModelError
from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.diversity.pairs import draw_pairs
from genrlhf.metrics.diversity.set_metric import LeaveOut, PairDraw, SetMetric

__all__ = ["Drawn", "PairwiseMetric", "split_by"]


@dataclass(frozen=True)
class Drawn:
    """The pairs of a set that are compared.

    Attributes:
        texts: of the set.
        places: (pairs, 2) int64, where the two texts of each stand in it.
        draw: what further draws of the set are made with.
    """

    texts: list[str]
    places: np.ndarray
    draw: random.Random

    @property
    def size(self) -> int:
        """How many texts there are."""
        return len(self.texts)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The two texts of every pair."""
        return [(self.texts[i], self.texts[j]) for i, j in self.places.tolist()]

    @property
    def total(self) -> int:
        """How many pairs there are to draw from."""
        return self.size * (self.size - 1) // 2


class PairwiseMetric(SetMetric):
    """The mean of a score over the pairs of two different texts of a set.

    A subclass has a `score_pairs`. This class draws the pairs of a set, once and by its seed and size alone, so that
    sets of one size are compared at the same places; gives the values without some of the texts from the pairs that
    are left, without scoring again; and tells the variance that drawing pairs adds from that of texts. NaN for fewer
    than 2 texts, and where no pair has a score.

    Attributes:
        max_pairs: pairs that are drawn where a set has more; None takes all.
        seed: of the draw.
    """

    min_texts: ClassVar[int] = 2
    max_pairs: int | None
    seed: int

    def score_pairs(self, pairs: list[tuple[str, str]]) -> Sequence[float] | np.ndarray:
        """Return the score of every pair of texts, the same both ways round; NaN where it is undefined."""
        raise NotImplementedError

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the value of every set of texts, scoring the pairs of all of them in one go, equal ones once."""
        drawn = [self._draw(check_texts(texts, f"set {row}")) for row, texts in enumerate(sets)]
        return [
            self._value(_mean(scores), each.size) for scores, each in zip(self._score_sets(drawn), drawn, strict=True)
        ]

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, list[float]]:
        """Return the value of `texts`, and that without each block of indices, scoring every pair once.

        The pairs drawn for all texts serve all of these, so that they differ by what was left out and not by the draw.
        """
        left = self.left_out(texts, blocks)
        return left.value, left.without.tolist()

    def left_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> LeaveOut:
        """Return what `leave_out` does, and what is known of the draw."""
        drawn = self._draw(check_texts(texts, "texts"))
        (scores,) = self._score_sets([drawn])
        member = np.zeros((len(blocks), drawn.size), dtype=bool)
        for row, block in zip(member, blocks, strict=True):
            row[list(block)] = True
        # Of all texts and without each block, the pairs that are there and have a score: (1 + B, pairs).
        kept = np.r_[np.ones((1, len(scores)), dtype=bool), ~member[:, drawn.places].any(axis=2)] & ~np.isnan(scores)
        counts = kept.sum(axis=1)
        sums = kept @ np.nan_to_num(scores)
        means = np.divide(sums, counts, out=np.full(len(counts), math.nan), where=counts > 0)
        values = np.array([self._value(float(mean), drawn.size) for mean in means])
        draw = None
        if 1 < len(scores) < drawn.total:
            scale = self._value(1.0, drawn.size) - self._value(0.0, drawn.size)
            moves = np.where(
                kept, (scores - means[:, None]) * (scale * len(scores) / np.maximum(counts, 1))[:, None], 0
            )
            draw = PairDraw(moves, drawn.total)
        return LeaveOut(float(values[0]), values[1:], draw)

    def pair_error(self, texts: Sequence[str]) -> float:
        """Return the standard error that drawing `max_pairs` of the pairs adds to the value of `texts`.

        0 where all pairs are taken; otherwise that of a mean of a sample without replacement, s √((1 − m / M) / m) with
        m of M pairs drawn.
        """
        draw = self.left_out(texts, []).draw
        return 0.0 if draw is None else draw.error

    def _value(self, mean: float, size: int) -> float:
        """Return the value of a set of `size` texts from the mean score of its pairs, of which it is linear."""
        return mean

    def _draw(self, texts: list[str]) -> Drawn:
        draw = random.Random(self.seed)
        return Drawn(texts, draw_pairs(len(texts), self.max_pairs, draw), draw)

    def _score_sets(self, drawn: Sequence[Drawn]) -> list[np.ndarray]:
        """Return the scores of the pairs of every set, (pairs,) float64."""
        texts = sorted({text for each in drawn for text in each.texts})
        numbers = {text: number for number, text in enumerate(texts)}
        numbered = [np.array([numbers[text] for text in each.texts], dtype=np.int64)[each.places] for each in drawn]
        both = np.sort(np.concatenate([np.zeros((0, 2), dtype=np.int64), *numbered]), axis=1)
        # In the order in which they first come, as a scorer expects that is told of them one set after the other.
        _, first, inverse = np.unique(both @ [len(texts), 1], return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        pairs = [(texts[i], texts[j]) for i, j in both[first[order]].tolist()]
        return split_by(self._scores(pairs)[rank[inverse]], [len(each.places) for each in drawn])

    def _scores(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        """Return `score_pairs`, checked; nothing is asked about no pairs."""
        if not pairs:
            return np.zeros(0)
        scores = np.asarray(self.score_pairs(pairs), dtype=np.float64)
        if scores.shape != (len(pairs),) or np.isinf(scores).any():
            raise ModelError(
                f"{self.name} scored {len(pairs)} pairs of texts with an array of shape {scores.shape}"
                f"{' that has infinite numbers' if np.isinf(scores).any() else ''}; return one number a pair, and NaN "
                "where it is undefined."
            )
        return scores


def split_by(scores: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Return the scores of every set from those of all, in their order."""
    return np.split(scores, np.cumsum(sizes)[:-1]) if len(sizes) else []


def _mean(scores: np.ndarray) -> float:
    defined = scores[~np.isnan(scores)]
    return float(defined.mean()) if len(defined) else math.nan
