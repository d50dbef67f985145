"""The score interval of a mean of bounded values: of shares, of preferences with ties, of anything in a known range."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import ConfigError, DataError

__all__ = ["difference_interval", "score_interval", "score_statistic"]

_Z = NormalDist().inv_cdf(0.975)
_HALVINGS = 60


def score_interval(values: ArrayLike, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """Return the 95 % score interval of the mean of values between `low` and `high`, which it does not leave.

    A mean μ is in the interval where z = 1.96 standard errors *under μ* bring it to the mean m of the n values::

        n (m − μ)² ≤ z² Var_μ

    Var_μ is the variance of the most likely distribution on [low, high] with mean μ: weights p_i = 1 / (n (1 + λ (v_i −
    μ))) on the values (Owen 1988, "Empirical Likelihood Ratio Confidence Intervals for a Single Functional"), and what
    is left of a mass of 1 on the bound that μ lies towards. Then Var_μ = (m − μ) / λ. Of values that are 0 or 1 this is
    the interval of Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"; with ties
    between them that of Tango 1998, "Equivalence Test and Confidence Interval for the Difference in Proportions for the
    Paired-Sample Design". The bounds keep it wide where all values are equal.

    Args:
        values: (n,) finite floats, at least one.
        low: the least value that there can be.
        high: the largest.

    Raises:
        DataError: there are no values, or one is outside of the bounds by more than a rounding.
        ConfigError: `low` is not below `high`.

    Example:
        >>> [round(end, 3) for end in score_interval([1.0] * 5)]
        [0.566, 1.0]
        >>> [round(end, 3) for end in score_interval([0.5] * 10)]  # ten ties
        [0.361, 0.639]
    """
    if not low < high:
        raise ConfigError(f"The bounds are {low} and {high}; the first must be below the second.")
    given = np.asarray(values, dtype=np.float64).reshape(-1)
    rounding = 1e-9 * (high - low)
    outside = given[~((given >= low - rounding) & (given <= high + rounding))]
    if outside.size or not given.size:
        what = f"A value is {outside[0]}" if outside.size else "There are no values"
        raise DataError(f"{what}; a score interval takes values from {low:g} to {high:g}, at least one.")
    shares, counts = np.unique(np.clip((given - low) / (high - low), 0, 1), return_counts=True)
    weights = counts / len(given)
    # A mean of equal numbers can be off by a rounding.
    mean = min(max(float(shares @ weights), shares[0]), shares[-1])
    a = _Z * _Z / len(given)
    ends = 1 - _upper_end(1 - shares, weights, 1 - mean, a), _upper_end(shares, weights, mean, a)
    return low + (high - low) * ends[0], low + (high - low) * ends[1]


def _upper_end(shares: np.ndarray, weights: np.ndarray, mean: float, a: float) -> float:
    """Return the upper end for distinct values in [0, 1] with weights of sum 1; `a` is z² / n."""
    # Here λ is at its bound −1 / (1 − μ); if the values' own masses are no more than 1 there, the rest lies at 1.
    edge = (mean + a) / (1 + a)
    if edge >= 1:
        return 1.0
    room = 1 - shares
    below = room > 1e-12
    if below.all() and float(weights @ ((1 - edge) / room)) <= 1:
        return edge
    # Beyond, all mass is on the values: its sum is 1 at the end, above that before it and below behind it.
    first, last = edge, 1.0
    for _ in range(_HALVINGS):
        middle = (first + last) / 2
        away = middle - mean
        if float(weights @ (away / (away - a * (shares - middle)))) > 1:
            first = middle
        else:
            last = middle
    return (first + last) / 2


def score_statistic(
    levels: np.ndarray, counts: np.ndarray, mean: float, low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """Return n (m − μ)² / Var_μ of many samples for one μ: the intervals that contain μ have at most z² = 3.84.

    Args:
        levels: (L,) the values that there are, between `low` and `high`.
        counts: (…, L) how many of each a sample has.
        mean: μ, between the bounds.
        low: the least value that there can be.
        high: the largest.
    """
    n = counts.sum(axis=-1)
    weights, away = counts / n[..., None], levels - mean
    off = weights @ away
    # λ has the sign of m − μ, and Σ w d / (1 + λ d) falls in its size; where it is not below 0 at the bound, the rest
    # of the mass lies at the value that the bound comes from.
    bound = np.where(off > 0, 1 / (mean - low), 1 / (high - mean)) * (1 - 1e-12)
    sign = np.where(off > 0, 1.0, -1.0)
    first, last = np.zeros_like(off), bound
    for _ in range(_HALVINGS):
        size = (first + last) / 2
        left = sign * (weights * away / (1 + (sign * size)[..., None] * away)).sum(axis=-1)
        first, last = np.where(left > 0, size, first), np.where(left > 0, last, size)
    statistic: np.ndarray = n * (first + last) / 2 * np.abs(off)
    return statistic


def difference_interval(
    first: float, first_interval: tuple[float, float], second: float, second_interval: tuple[float, float]
) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two independent figures from those of either.

    With figures a and b and their intervals [l_a, u_a] and [l_b, u_b]::

        a − b − √((a − l_a)² + (u_b − b)²)   to   a − b + √((u_a − a)² + (b − l_b)²)

    Of score intervals of shares this is method 10 of Newcombe 1998, "Interval Estimation for the Difference between
    Independent Proportions"; that it holds for other figures: Zou & Donner 2008, "Construction of confidence limits
    about effect measures". NaN in an end leaves the side that it goes into NaN.

    Example:
        >>> a, b = [1.0] * 56 + [0.0] * 14, [1.0] * 48 + [0.0] * 32
        >>> ends = difference_interval(0.8, score_interval(a), 0.6, score_interval(b))
        >>> [round(end, 4) for end in ends]
        [0.0524, 0.3339]
    """
    difference = first - second
    down = np.hypot(first - first_interval[0], second_interval[1] - second)
    up = np.hypot(first_interval[1] - first, second - second_interval[0])
    return difference - float(down), difference + float(up)
