"""Best-of-n for every n at once, from one pool of samples an input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from genrlhf.errors import ConfigError, DataError, ShapeError, excerpt
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.metrics.preference import preference_vs_reference
from genrlhf.ops import best_of_n_kl, best_of_n_weights
from genrlhf.types import Estimate, Judge

__all__ = ["BestOfNPoint", "best_of_n_curve", "pool_curve"]


@dataclass(frozen=True)
class BestOfNPoint:
    """Best-of-n at one n.

    Attributes:
        n: samples that an output is chosen from.
        kl: log n − (n − 1)/n, an upper bound in nats on the KL from the model that is sampled.
        reward: mean over inputs of the expected reward of the best of n.
        preference: mean over inputs of the chance that it is preferred to the reference, a tie counting half; None
            where there are no verdicts.
    """

    n: int
    kl: float
    reward: Estimate
    preference: Estimate | None = None


def best_of_n_curve(
    rewards: Sequence[Sequence[float]] | np.ndarray,
    preferences: Sequence[Sequence[float | None]] | np.ndarray | None = None,
    ns: Sequence[int] | None = None,
) -> list[BestOfNPoint]:
    """Return reward and preference of best-of-n for every n, from N samples of every input.

    The value of an input is the unbiased estimate from its N samples (`ops.best_of_n_weights`); standard errors and
    intervals are over inputs.

    Args:
        rewards: (inputs, N), what samples are chosen by.
        preferences: (inputs, N), 1 where a sample is preferred to the reference, 0.5 for a tie, 0 where it is not. An
            input with a None, for no verdict, is left out of `preference`.
        ns: which n; by default the powers of two up to N, and N.

    Raises:
        ConfigError: an n is below 1 or above N.
        DataError: a value is NaN, infinite or no number, or a preference is not between 0 and 1.
        ShapeError: rows differ in length, there are none, or `preferences` has another shape than `rewards`.

    Example:
        >>> for point in best_of_n_curve([[0.0, 1.0], [2.0, 4.0]]):
        ...     print(point.n, round(point.kl, 3), point.reward.value)
        1 0.0 1.75
        2 0.193 2.5
    """
    scores = _matrix(rewards, "rewards")
    if np.isnan(scores).any():
        raise DataError(f"rewards, row {int(np.isnan(scores).nonzero()[0][0])} has a None; drop that input.")
    verdicts = None if preferences is None else _verdicts(preferences, scores.shape)
    size = scores.shape[1]
    if ns is None:
        ns = sorted({*(2**power for power in range(size.bit_length())), size})
    if not ns or not all(1 <= n <= size for n in ns):
        raise ConfigError(f"ns must be numbers from 1 to {size}, the samples of an input, not {excerpt(list(ns))}.")
    points = []
    for n in ns:
        weights = best_of_n_weights(torch.from_numpy(scores), n).numpy()
        points.append(
            BestOfNPoint(
                n=n,
                kl=best_of_n_kl(n),
                reward=mean_estimate((weights * scores).sum(-1)),
                preference=None if verdicts is None else proportion_estimate((weights * verdicts).sum(-1)),
            )
        )
    return points


def pool_curve(rows: Sequence[Mapping[str, Any]], n: int, judge: Judge | None) -> list[BestOfNPoint]:
    """Return the curve of the first `n` samples of every row; with a judge and references, preferences too.

    Args:
        rows: `prompt`, `outputs`, `rewards` and maybe `reference`.
        n: N, the size of the pool of an input.
        judge: asked for every sample of every input, in one call.
    """
    rewards = [row["rewards"][:n] for row in rows]
    if judge is None or not all("reference" in row for row in rows):
        return best_of_n_curve(rewards)
    return best_of_n_curve(rewards, _preferences(rows, n, judge))


def _preferences(rows: Sequence[Mapping[str, Any]], n: int, judge: Judge) -> list[list[float | None]]:
    answered: list[bool] = []

    def noting(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        answers = list(judge(prompts, first, second))
        answered.extend(answer is not None for answer in answers)
        return answers

    result = preference_vs_reference(
        [row["prompt"] for row in rows for _ in range(n)],
        [text for row in rows for text in row["outputs"][:n]],
        [row["reference"] for row in rows for _ in range(n)],
        noting,
    )
    # The values are those of the comparisons with an answer, in order.
    values = iter(result.values.tolist())
    verdicts = [next(values) if known else None for known in answered]
    return [verdicts[start : start + n] for start in range(0, len(verdicts), n)]


def _verdicts(preferences: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the preferences, NaN for no verdict; None if no input has all of them."""
    verdicts = _matrix(preferences, "preferences")
    if verdicts.shape != shape:
        raise ShapeError(f"preferences has the shape {verdicts.shape}, and rewards {shape}; they must be the same.")
    outside = (verdicts < 0) | (verdicts > 1)
    if outside.any():
        row, column = (int(axis[0]) for axis in outside.nonzero())
        raise DataError(
            f"preferences, row {row} has {verdicts[row, column]}; 1 is preferred to the reference, 0.5 a tie, 0 not."
        )
    return None if np.isnan(verdicts).any(axis=1).all() else verdicts


def _matrix(values: Any, name: str) -> np.ndarray:
    """Return rows of equal length as (inputs, N) float64, NaN for None."""
    try:
        rows = [list(row) for row in values]
    except TypeError as error:
        raise ShapeError(f"{name} is {excerpt(values)}; give one list of numbers per input.") from error
    if not rows or not rows[0]:
        raise ShapeError(f"{name} is {excerpt(values)}; give at least one input with at least one sample.")
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ShapeError(
                f"{name}, row {number} has {len(row)} samples, and row 0 has {len(rows[0])}; every input needs as many."
            )
        for value in row:
            if value is not None and not _is_finite(value):
                raise DataError(f"{name}, row {number} has {excerpt(value)}; give finite numbers.")
    return np.array(rows, dtype=np.float64)


def _is_finite(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
