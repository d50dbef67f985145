"""Two sides on the same inputs: is the one's figure higher?"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.metrics.estimate import bounded_estimate, mean_estimate
from genrlhf.types import Estimate

__all__ = ["PairedComparison", "paired_comparison", "paired_shares", "sign_flip_test"]

_EXACT_UP_TO = 13
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class PairedComparison:
    """The second side's figure less the first's, on the same inputs.

    Attributes:
        difference: with its interval.
        p_value: of the paired sign-flip test, that inputs do not favour either side; None where there are no
            values per input to flip.
    """

    difference: Estimate
    p_value: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate's JSON form with `p_value` added."""
        return {**self.difference.to_dict(), "p_value": self.p_value}

    def __str__(self) -> str:
        low, high = self.difference.ci
        ends = "unknown" if math.isnan(low) and math.isnan(high) else f"{low:+.3f}, {high:+.3f}"
        sign = f"{self.difference.value:+.3f} [{ends}]"
        return sign if self.p_value is None else f"{sign} p={self.p_value:.2g}"


def paired_comparison(
    first: ArrayLike, second: ArrayLike, *, bounds: tuple[float, float] | None = None, seed: int = 0
) -> PairedComparison:
    """Compare the values of the same inputs; those where either is NaN are left out.

    Args:
        first: (inputs,) floats.
        second: (inputs,) floats.
        bounds: the least and the largest value that there can be, if they are known (see `mean_estimate`).
        seed: of flips.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    span = None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    estimate = mean_estimate(differences, bounds=span)
    return PairedComparison(estimate, sign_flip_test(estimate.values, seed=seed))


def paired_shares(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> PairedComparison:
    """Compare shares of the same inputs, such as wins (1), losses (0) and ties (0.5).

    The interval of the difference is the score interval of values between −1 and 1: of wins and losses that of Tango
    1998, "Equivalence Test and Confidence Interval for the Difference in Proportions for the Paired-Sample Design" (see
    `score_interval`). It has a width where all differences are equal.

    Args:
        first: (inputs,) floats in [0, 1]; inputs where either is NaN are left out.
        second: (inputs,) floats in [0, 1].
        seed: of flips.

    Example:
        >>> print(paired_shares([1.0] * 7 + [0.0] * 14, [0.0] * 7 + [1.0] + [0.0] * 13))
        -0.286 [-0.517, -0.026] p=0.069
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    estimate = bounded_estimate(differences, -1.0, 1.0)
    return PairedComparison(estimate, sign_flip_test(estimate.values, seed=seed))


def sign_flip_test(differences: ArrayLike, *, flips: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value of paired differences under random signs.

    Where neither side is favoured, the sign of every difference is as likely + as −; p is the share of signs that make
    the mean at least as far from 0 as it is (Fisher 1935; Good 2005, "Permutation, Parametric and Bootstrap Tests of
    Hypotheses"). Up to 13 differences all signs are tried; beyond that, `flips` random ones and those that are there,
    so that p is at least 1 / (flips + 1).

    Args:
        differences: (n,) finite floats.
        flips: random signs.
        seed: of the signs.

    Example:
        >>> sign_flip_test([1.0, 2.0, 3.0])  # 2 of 8 signs
        0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    # Sums of the same numbers in another order differ by rounding.
    seen = abs(values.sum()) - 1e-12 * abs(values).sum()
    if n <= _EXACT_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
        return float((abs(signs @ values) >= seen).mean())
    generator = np.random.default_rng(seed)
    step = max(1, _NUMBERS_AT_ONCE // n)
    beyond = 0
    for start in range(0, flips, step):
        signs = generator.integers(2, size=(min(step, flips - start), n)) * 2.0 - 1.0
        beyond += int((abs(signs @ values) >= seen).sum())
    return (beyond + 1) / (flips + 1)
