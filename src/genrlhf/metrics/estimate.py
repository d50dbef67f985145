"""Figures with their standard errors and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.score_interval import score_interval
from genrlhf.types import Estimate

__all__ = [
    "bounded_estimate",
    "held_within",
    "interval",
    "jackknife_blocks",
    "jackknife_estimate",
    "jackknife_from_blocks",
    "jackknife_variance",
    "mean_estimate",
    "mean_intervals",
    "proportion_estimate",
]

Unit = TypeVar("Unit")


def interval(value: float, stderr: float, df: float) -> tuple[float, float]:
    """Return `value ± t stderr`, t being the 97.5 % quantile of Student's t; NaN where `stderr` is NaN."""
    from scipy.special import stdtrit

    half = float(stdtrit(df, 0.975)) * stderr if math.isfinite(stderr) else math.nan
    return value - half, value + half


def mean_estimate(values: ArrayLike, *, bounds: tuple[float, float] | None = None) -> Estimate:
    """Return the mean of per-input values, its standard error s / √n (s with n − 1) and its 95 % interval.

    The interval is Student's, widened on the side of the longer tail to that of Hall 1992, "On the Removal of Skewness
    by Transformation". With t Student's quantile and γ the skewness::

        value − s/√n g⁻¹(± t),    g⁻¹(x) = 3 ((1 + a (x − a/6))^⅓ − 1) / a,    a = γ / √n

    Few values show less than their population's skewness; it is multiplied by 1 + 6/n for that, about the first term of
    Bobée & Robitaille 1975, "Correction of Bias in the Estimation of the Coefficient of Skewness". How often it
    contains the truth is measured: see docs/metrics.md.

    Args:
        values: (m,) floats; NaN marks an input whose value is undefined: it is left out, and `n` counts the others.
        bounds: the least and the largest value that there can be, if they are known: the interval does not leave them.

    Returns:
        Where all values are equal, they do not tell how far others lie from them: the interval is then no point, but
        the score interval between the bounds (see `score_interval`), and NaN without bounds.

    Raises:
        DataError: none of the values is defined, or one is infinite or not between the bounds.

    Example:
        >>> estimate = mean_estimate([1.0, 2.0, 3.0, float("nan")])
        >>> print(estimate, estimate.n)
        2.000 [-0.484, 4.484] 3
        >>> print(mean_estimate([0.0] * 8), mean_estimate([0.0] * 8, bounds=(0, 1)))
        0.000 [unknown] 0.000 [0.000, 0.324]
    """
    defined = _defined(values)
    n = len(defined)
    value = float(defined.mean())
    stderr = float(defined.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    ends = mean_intervals(defined)
    plain = Estimate(value=value, stderr=stderr, ci=(float(ends[0]), float(ends[1])), n=n, values=defined)
    if bounds is None:
        return plain if _differ(defined) else replace(plain, ci=(math.nan, math.nan))
    # Also raises where a value is out of bounds.
    widest = score_interval(defined, *bounds)
    return held_within(plain, bounds) if _differ(defined, bounds[1] - bounds[0]) else replace(plain, ci=widest)


def _differ(values: np.ndarray, scale: float = 0.0) -> bool:
    """Say whether values differ by more than the rounding of numbers of their size, or of a larger scale."""
    return bool(np.ptp(values) > 1e-12 * max(float(np.abs(values).max()), scale))


def held_within(estimate: Estimate, bounds: tuple[float, float] | None) -> Estimate:
    """Return an estimate whose interval does not leave the bounds of what is estimated, where they are known."""
    if bounds is None:
        return estimate
    low, high = np.clip(estimate.ci, *bounds)
    return replace(estimate, ci=(float(low), float(high)))


def mean_intervals(values: np.ndarray) -> np.ndarray:
    """Return the intervals that `mean_estimate` gives the means of many samples of finite values without bounds.

    Args:
        values: (…, n) float64.

    Returns:
        (…, 2), NaN for n = 1.
    """
    n = values.shape[-1]
    if n < 2:
        return np.full((*values.shape[:-1], 2), np.nan)
    mean, stderr = values.mean(axis=-1), values.std(axis=-1, ddof=1) / math.sqrt(n)
    down, up = _arms(values)
    return np.stack([mean - down * stderr, mean + up * stderr], axis=-1)


def _arms(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many standard errors the interval of a mean of (…, n) values reaches down and up, (…) each."""
    from scipy.special import stdtrit

    n = values.shape[-1]
    t = float(stdtrit(n - 1, 0.975))
    away = values - values.mean(axis=-1, keepdims=True)
    spread = np.sqrt((away**2).mean(axis=-1))
    # Of equal values, and of two, there is no skewness; below 1e-9 the two intervals are the same to nine digits, and
    # a difference of near equals would be divided.
    equal = (spread <= 1e-12 * np.abs(values).max(axis=-1)) | (n < 3)
    skewness = ((away / np.where(equal, 1.0, spread)[..., None]) ** 3).mean(axis=-1)
    a = np.where(equal, 0.0, (1 + 6 / n) * skewness / math.sqrt(n))
    a = np.where(np.abs(a) < 1e-9, 1e-9, a)
    down, up = (3 * (np.cbrt(1 + a * (x - a / 6)) - 1) / a for x in (t, -t))
    return np.maximum(t, down), np.maximum(t, -up)


def proportion_estimate(values: ArrayLike) -> Estimate:
    """Return the mean of shares, such as wins (1), losses (0) and ties (0.5), with its 95 % score interval.

    The interval is Wilson's where all values are 0 or 1 (see `score_interval`); unlike the standard error s / √n, which
    is 0 then, it has a width where all values are equal.

    Args:
        values: (m,) floats in [0, 1]; NaN marks an undefined one, as in `mean_estimate`.

    Raises:
        DataError: none of the values is defined, or one is not between 0 and 1.

    Example:
        >>> print(proportion_estimate([1.0, 1.0, 1.0, 1.0, 1.0]))
        1.000 [0.566, 1.000]
    """
    return bounded_estimate(values, 0.0, 1.0)


def bounded_estimate(values: ArrayLike, low: float, high: float) -> Estimate:
    """Return the mean of values that lie between `low` and `high`, with its 95 % score interval (see `score_interval`).

    Args:
        values: (m,) floats; NaN marks an undefined one, as in `mean_estimate`.
        low: the least value that there can be.
        high: the largest.

    Raises:
        DataError: none of the values is defined, or one is not between the bounds.
    """
    plain = mean_estimate(values)
    return replace(plain, ci=score_interval(plain.values, low, high))


def _defined(values: ArrayLike) -> np.ndarray:
    given = np.asarray(values, dtype=np.float64).reshape(-1)
    if np.isinf(given).any():
        row = int(np.flatnonzero(np.isinf(given))[0])
        raise DataError(f"The value of row {row} is {given[row]}; a mean needs finite values (NaN: undefined).")
    defined: np.ndarray = given[~np.isnan(given)]
    if not len(defined):
        raise DataError(f"None of the {len(given)} values is defined, so there is no mean; look at the inputs.")
    return defined


def jackknife_blocks(n: int, blocks: int) -> list[list[int]]:
    """Deal the units 0 … n − 1 out to `blocks` blocks in turn, so that sizes differ by at most one.

    Args:
        n: number of units.
        blocks: at least 2; no more than `n` of them are made.
    """
    if blocks < 2:
        raise ConfigError(f"blocks is {blocks}; a jackknife needs at least 2.")
    count = min(blocks, n)
    return [list(range(first, n, count)) for first in range(count)]


def jackknife_from_blocks(value: float, without: ArrayLike, blocks: Sequence[Sequence[int]]) -> Estimate:
    """Return `value` with the standard error of the delete-a-block jackknife.

    With n units in B blocks, block b of m_b units, θ the statistic of all units, θ_b that without block b, and
    h_b = n / m_b (Busing, Meijer & van der Leeden 1999, "Delete-m jackknife for unequal m")::

        τ_b = h_b θ − (h_b − 1) θ_b                      pseudo-values
        θ_J = B θ − Σ_b (1 − m_b / n) θ_b
        stderr² = 1/B Σ_b (τ_b − θ_J)² / (h_b − 1)

    For equal blocks this is (B − 1)/B Σ_b (θ_b − mean θ_b)², the usual one (Efron & Stein 1981, "The jackknife estimate
    of variance"; that deleting blocks stays valid where deleting single units does not: Shao & Wu 1989, "A general
    theory for jackknife variance estimation").

    Args:
        value: θ.
        without: (B,) θ_b.
        blocks: the units of every block.

    Returns:
        `values` are the B pseudo-values, `n` is the number of units; the interval is that which `mean_estimate` gives a
        mean of the pseudo-values: Student's with B − 1 degrees of freedom around θ, wider towards their longer tail.
        One block, or an undefined θ_b, leaves standard error and interval NaN; where no block makes a difference, the
        blocks do not tell how far off the figure may be, and the interval is NaN.

    Raises:
        DataError: the statistic of all units is not a finite number.
    """
    if not math.isfinite(value):
        raise DataError(f"The statistic of all {sum(map(len, blocks))} units is {value}; give more of them.")
    left = np.asarray(without, dtype=np.float64)
    sizes = np.array([len(block) for block in blocks], dtype=np.float64)
    n = int(sizes.sum())
    pseudo = n / sizes * value - (n / sizes - 1) * left
    stderr = math.sqrt(float(jackknife_variance(np.array(value), left, sizes)))
    ci = math.nan, math.nan
    # What is left of a difference of numbers around 1 is rounding too.
    if math.isfinite(stderr) and _differ(pseudo, 1.0):
        down, up = _arms(pseudo)
        ci = value - float(down) * stderr, value + float(up) * stderr
    return Estimate(value=value, stderr=stderr, ci=ci, n=n, values=pseudo)


def jackknife_variance(value: np.ndarray, without: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return stderr² of `jackknife_from_blocks`, of many statistics at once; NaN for a single block.

    Args:
        value: (…) θ.
        without: (…, B) θ_b.
        sizes: (B,) m_b, how many units are in every block.
    """
    n, count = float(sizes.sum()), len(sizes)
    if count < 2:
        return np.full(np.shape(value), math.nan)
    shares = n / sizes
    pseudo = shares * value[..., None] - (shares - 1) * without
    centre = count * value - ((1 - sizes / n) * without).sum(axis=-1)
    variance: np.ndarray = ((pseudo - centre[..., None]) ** 2 / (shares - 1)).mean(axis=-1)
    return variance


def jackknife_estimate(
    statistic: Callable[[list[Unit]], float], units: Sequence[Unit], *, blocks: int = 20
) -> Estimate:
    """Return a statistic of all units with its delete-a-block jackknife error (see `jackknife_from_blocks`).

    Args:
        statistic: of a list of units; called once for all of them and once without each block.
        units: independent of each other, in any order.
        blocks: number of blocks.

    Raises:
        DataError: there are no units, or the statistic of all of them is not a finite number.

    Example:
        >>> estimate = jackknife_estimate(lambda x: sum(x) / len(x), [1.0, 2.0, 3.0, 6.0])
        >>> round(estimate.value, 6), round(estimate.stderr, 6)
        (3.0, 1.080123)
    """
    if len(units) == 0:
        raise DataError("There are no units to take a statistic of; give at least one.")
    dealt = jackknife_blocks(len(units), blocks)
    value = statistic(list(units))
    without = []
    for block in dealt:
        dropped = set(block)
        rest = [unit for index, unit in enumerate(units) if index not in dropped]
        without.append(statistic(rest) if rest else math.nan)
    return jackknife_from_blocks(value, without, dealt)
