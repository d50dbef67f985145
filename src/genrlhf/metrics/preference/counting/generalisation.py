"""How much is lost out of distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.score_interval import difference_interval
from genrlhf.metrics.shift import word_shift
from genrlhf.types import Estimate

__all__ = ["GeneralisationGaps", "gaps_per_shift", "generalisation_gap", "generalisation_gaps", "word_shift"]

_Z = NormalDist().inv_cdf(0.975)


def generalisation_gap(in_distribution: Estimate, out_of_distribution: Estimate) -> Estimate:
    """Return the figure in distribution less the one out of distribution, such as PvR; above 0 means a loss.

    Kirk et al. 2024, "Understanding the Effects of RLHF on LLM Generalisation and Diversity". The two test sets are
    independent samples, so the variances add up: stderr² = s_id² + s_ood². The interval is made from those of the two
    figures (see `difference_interval`); of two win rates it is Newcombe's, which has a width where both are unanimous.

    Returns:
        `n` is the sum of both; `values` is empty, since no input has a gap of its own.

    Example:
        >>> from genrlhf.metrics.estimate import proportion_estimate
        >>> print(generalisation_gap(proportion_estimate([1, 1, 0, 1]), proportion_estimate([1, 0, 0, 0])))
        0.500 [-0.135, 0.789]
    """
    value = in_distribution.value - out_of_distribution.value
    stderr = math.hypot(in_distribution.stderr, out_of_distribution.stderr)
    return Estimate(
        value=value,
        stderr=stderr,
        ci=difference_interval(
            in_distribution.value, in_distribution.ci, out_of_distribution.value, out_of_distribution.ci
        ),
        n=in_distribution.n + out_of_distribution.n,
        values=np.zeros(0),
    )


@dataclass(frozen=True)
class GeneralisationGaps:
    """The gaps to several test sets out of distribution.

    Attributes:
        gaps: by the name of the set, see `generalisation_gap`.
        per_shift: how much the gap grows with the size of the shift; None for fewer than two sets of known shift.
    """

    gaps: dict[str, Estimate]
    per_shift: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "gaps": {name: gap.to_dict() for name, gap in self.gaps.items()},
            "per_shift": None if self.per_shift is None else self.per_shift.to_dict(),
        }


def generalisation_gaps(
    in_distribution: Estimate,
    out_of_distribution: Mapping[str, Estimate],
    *,
    shifts: Mapping[str, float] | None = None,
) -> GeneralisationGaps:
    """Return the gap to every test set, and how it grows with the size of the shift.

    Without a shift there is no gap, so the line through the gaps g with shifts x goes through 0. They share the figure
    in distribution, so they vary together, Σ = s_id² 11ᵀ + diag(s_k²), and the slope is that of generalised least
    squares (Aitken 1936)::

        b = xᵀΣ⁻¹g / xᵀΣ⁻¹x,    stderr² = 1 / xᵀΣ⁻¹x

    The errors s are those that the figures' intervals stand for, (upper − lower end) / (2 · 1.96): of a unanimous win
    rate s / √n would be 0. The slope is a sum of the figures, b = Σ_i c_i θ_i, and its interval is made of theirs
    (Zou, Huang & Zhang 2009, "A note on confidence interval estimation for a linear function of binomial
    proportions"); it does not know how well a line fits::

        b ∓ √(Σ_i c_i² a_i²),    a_i the arm of θ_i's interval that points to where c_i θ_i is less (more)

    Args:
        in_distribution: the figure, such as PvR.
        out_of_distribution: the same on other sets, by name.
        shifts: sizes of the shifts, above 0, by name; of some sets or all. Any measure (see `shift_between`).

    Raises:
        DataError: there are no other sets.
        ConfigError: a shift is not above 0, or of a set that is not there.

    Example:
        >>> from genrlhf.metrics.estimate import mean_estimate
        >>> inside, near, far = mean_estimate([1, 1, 1, 0]), mean_estimate([1, 0, 1, 0]), mean_estimate([0, 0, 1, 0])
        >>> found = generalisation_gaps(inside, {"near": near, "far": far}, shifts={"near": 0.25, "far": 0.5})
        >>> found.gaps["near"].value, found.gaps["far"].value, found.per_shift.value
        (0.25, 0.5, 1.0)
    """
    if not out_of_distribution:
        raise DataError("There is no test set out of distribution; give at least one.")
    for name, shift in (shifts or {}).items():
        if name not in out_of_distribution or not 0 < shift < math.inf:
            raise ConfigError(f"The shift of {name!r} is {shift}; give a number above 0 for a set that is there.")
    gaps = {name: generalisation_gap(in_distribution, other) for name, other in out_of_distribution.items()}
    known = list(shifts or {})
    if len(known) < 2:
        return GeneralisationGaps(gaps, None)
    x = np.array([(shifts or {})[name] for name in known])
    g = np.array([gaps[name].value for name in known])
    return GeneralisationGaps(gaps, _slope(x, g, in_distribution, [out_of_distribution[name] for name in known]))


def _error(estimate: Estimate) -> float:
    return (estimate.ci[1] - estimate.ci[0]) / (2 * _Z)


def _slope(x: np.ndarray, g: np.ndarray, inside: Estimate, others: Sequence[Estimate]) -> Estimate:
    covariance = np.diag([_error(other) ** 2 for other in others]) + _error(inside) ** 2
    usable = bool(np.isfinite(covariance).all()) and np.linalg.matrix_rank(covariance) == len(x)
    weighted = np.linalg.solve(covariance, x) if usable else x
    scale = float(weighted @ x)
    value, stderr, ci = float(weighted @ g) / scale, math.nan, (math.nan, math.nan)
    if usable:
        stderr = 1 / math.sqrt(scale)
        arms = np.array([(each.value - each.ci[0], each.ci[1] - each.value) for each in (inside, *others)])
        weights = np.concatenate([[weighted.sum()], -weighted]) / scale
        # What counts negatively makes the sum less where it is more.
        arms[weights < 0] = arms[weights < 0, ::-1]
        down, up = np.sqrt(weights**2 @ arms**2)
        ci = (value - float(down), value + float(up))
    return Estimate(value=value, stderr=stderr, ci=ci, n=len(x), values=g / x)


def gaps_per_shift(
    in_distribution: Estimate, out_of_distribution: Mapping[str, Estimate], shifts: Mapping[str, Mapping[str, Estimate]]
) -> dict[str, Estimate]:
    """Return how much the gap grows with every measure of the shift, of those known and not 0 for two sets or more.

    Args:
        in_distribution: the figure where there is no shift.
        out_of_distribution: the figures of the other sets, by name.
        shifts: how far they are away, by name and measure (see `shift_between`); signs do not count.
    """
    found: dict[str, Estimate] = {}
    for measure in dict.fromkeys(measure for each in shifts.values() for measure in each):
        sizes = {name: abs(each[measure].value) for name, each in shifts.items() if measure in each}
        sizes = {name: size for name, size in sizes.items() if name in out_of_distribution and 0 < size < math.inf}
        if len(sizes) > 1:
            known = {name: out_of_distribution[name] for name in sizes}
            slope = generalisation_gaps(in_distribution, known, shifts=sizes).per_shift
            found |= {} if slope is None else {measure: slope}
    return found
