"""From how many outputs on a base model solves more than the trained one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.paired import PairedComparison, paired_shares
from genrlhf.metrics.score_interval import score_interval
from genrlhf.metrics.solutions.verdicts import check_k, right_and_all

__all__ = ["CrossingPoint", "crossing_of_curves", "crossing_point", "pass_curves"]

_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class CrossingPoint:
    """The k from which on the base model's pass@k is above the trained one's.

    Attributes:
        k: where the base overtakes; None where it does not, up to `max_k`.
        ci: the 95 % interval. A lower end of 1 means that the base may be ahead from the start, an infinite upper one
            that it may not overtake up to `max_k`.
        crossed: the share of the samples of a bootstrap in which the base overtakes.
        max_k: the largest k that was looked at.
        n: inputs.
        first: pass@1 of the base less that of the trained model.
        last: pass@max_k of the base less that of the trained model.
    """

    k: int | None
    ci: tuple[float, float]
    crossed: float
    max_k: int
    n: int
    first: PairedComparison
    last: PairedComparison

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; an end that is beyond `max_k` is None."""
        return {
            "k": self.k,
            "ci": [end if math.isfinite(end) else None for end in self.ci],
            "crossed": self.crossed,
            "max_k": self.max_k,
            "n": self.n,
            "pass@1": self.first.to_dict(),
            f"pass@{self.max_k}": self.last.to_dict(),
        }

    def __str__(self) -> str:
        low, high = (f"{end:g}" if math.isfinite(end) else f"beyond {self.max_k}" for end in self.ci)
        return f"{'none' if self.k is None else self.k} [{low}, {high}]"


def crossing_point(
    base: Sequence[Sequence[bool]],
    trained: Sequence[Sequence[bool]],
    *,
    max_k: int | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> CrossingPoint:
    """Return the least k at which the base model's pass@k is above the trained model's, having been at or below it.

    Yue et al. 2025, "Does Reinforcement Learning Really Incentivize Reasoning Capacity in LLMs Beyond the Base Model?",
    find such a point for most models that are trained with verified rewards. With d(k) the mean over inputs of the
    base's pass@k less the trained model's::

        k* = min {k ≥ 2 : d(k) > 0}   where d(1) ≤ 0;   none where d(1) > 0, or d(k) ≤ 0 up to max_k

    The interval is of all k that the data leave: with the 95 % score interval of d(k), a paired difference of values
    between −1 and 1, it goes from the first k where that reaches above 0 to the first where it lies above 0 (Fieller
    1954, "Some Problems in Interval Estimation", inverts a test so). With few inputs the percentiles of a bootstrap are
    too near to each other; a paired bootstrap over inputs says how often the curves cross at all.

    Args:
        base: one list per input, of booleans, one an output.
        trained: the same of the trained model, of the same inputs in the same order.
        max_k: the largest k; by default the fewest outputs that an input has of either model.
        resamples: of the bootstrap.
        seed: of the resamples.

    Raises:
        DataError: the numbers of inputs differ, or an input has fewer than `max_k` outputs.

    Example:
        >>> base = [[True] + [False] * 7] * 8
        >>> trained = [[True] * 8] * 4 + [[False] * 8] * 4
        >>> print(crossing_point(base, trained))  # k/8 against 4/8
        5 [1, 8]
    """
    sides = [right_and_all(side) for side in (base, trained)]
    inputs = len(sides[0][0])
    if len(sides[1][0]) != inputs:
        raise DataError(
            f"There are verdicts of {inputs} inputs and of {len(sides[1][0])}; give both models' of the same inputs."
        )
    fewest = int(min(count.min() for _, count in sides))
    largest = fewest if max_k is None else check_k(max_k, "max_k")
    if largest > fewest:
        raise DataError(f"An input has {fewest} output(s), fewer than max_k = {largest}; sample more, or lower max_k.")
    curves = [pass_curves(right, count, largest) for right, count in sides]
    return crossing_of_curves(*curves, resamples=resamples, seed=seed)


def crossing_of_curves(
    base: np.ndarray,
    trained: np.ndarray,
    *,
    intervals: Callable[[np.ndarray], tuple[float, float]] = lambda differences: score_interval(differences, -1.0, 1.0),
    resamples: int = 2000,
    seed: int = 0,
) -> CrossingPoint:
    """Return where the mean of the base's curves overtakes that of the trained model's, see `crossing_point`.

    Args:
        base: (…, inputs, k) float64, see `pass_curves`; what stands before the inputs, such as seeds, is averaged.
        trained: the same.
        intervals: of a mean of differences between −1 and 1, (…, inputs).
        resamples: of the bootstrap, over inputs.
        seed: of the resamples.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; give at least one, such as 2000.")
    *_, inputs, largest = base.shape
    ends = np.array([intervals(base[..., k] - trained[..., k]) for k in range(largest)])
    sides = [curves.reshape(-1, inputs, largest).mean(axis=0) for curves in (base, trained)]
    differences = sides[0] - sides[1]
    k = _overtaken(differences.mean(axis=0, keepdims=True))[0]
    drawn = _resampled(differences, resamples, seed)
    return CrossingPoint(
        k=int(k) if 1 < k < math.inf else None,
        ci=(float(_overtaken(ends[:, 1])), float(_overtaken(ends[:, 0]))),
        crossed=float(((drawn > 1) & np.isfinite(drawn)).mean()),
        max_k=largest,
        n=inputs,
        first=paired_shares(sides[1][:, 0], sides[0][:, 0], seed=seed),
        last=paired_shares(sides[1][:, -1], sides[0][:, -1], seed=seed),
    )


def pass_curves(right: np.ndarray, count: np.ndarray, largest: int) -> np.ndarray:
    """Return pass@1 … pass@largest of every input, (inputs, largest) float64.

    Args:
        right: (inputs,) int64, right outputs of every input.
        count: (inputs,) int64, its outputs, at least `largest`.
        largest: k.
    """
    pairs, places = np.unique(np.stack([count, right]), axis=1, return_inverse=True)
    n, c = pairs[:, :, None]
    i = np.arange(largest)
    # C(n − c, k) / C(n, k), factor by factor; see `none_of_k`.
    curves = 1 - np.cumprod(np.maximum(n - c - i, 0) / (n - i), axis=1)
    found: np.ndarray = curves[places.reshape(-1)]
    return found


def _overtaken(differences: np.ndarray) -> np.ndarray:
    """Return the first k with a difference above 0, of many curves (…, k): 1 from the start, infinite if never."""
    # Equal rates give equal curves but for rounding.
    ahead = differences > 1e-12
    return np.where(ahead.any(axis=-1), ahead.argmax(axis=-1) + 1.0, math.inf)


def _resampled(differences: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    inputs = len(differences)
    step = max(1, _NUMBERS_AT_ONCE // max(inputs, differences.shape[1]))
    found = []
    for start in range(0, resamples, step):
        times = generator.multinomial(inputs, np.full(inputs, 1 / inputs), size=min(step, resamples - start))
        found.append(_overtaken(times @ differences / inputs))
    return np.concatenate(found)
