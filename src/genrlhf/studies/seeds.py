"""One figure of several seeds, with an interval that holds seeds and inputs both.

Every seed of training is evaluated on the same inputs, so seeds s and inputs i are crossed::

    y_si = μ + a_s + b_i + e_si,    variances σ_a², σ_b², σ_e²
    Var ȳ = σ_a²/S + (σ_b² + σ_e²/S)/I

a is what the seed of training does to all inputs, b what an input is like whichever seed, e the rest: how an input
fares with a seed, and the draw of its outputs. The second term is the variance of a mean of the I inputs' averages over
seeds, which the inputs' own interval (Student's, or the score interval of a share) measures. The first is read off the
two-way table (Searle, Casella & McCulloch 1992, "Variance Components", chapter 4)::

    σ̂_a² = max(0, s²(ȳ_s) − MS_e/I)    s² between the seeds' means, MS_e = Σ (y_si − ȳ_s − ȳ_i + ȳ)² / ((S−1)(I−1))

The two arms, t_{S−1} σ̂_a/√S of the seeds and that of the inputs, are put together as MOVER does (Zou & Donner 2008,
"Construction of confidence limits about effect measures"): √(arm² + arm²), down and up. Where seeds do not differ
beyond what their inputs make of it, this is the inputs' interval; where they alone matter, Student's with S − 1
degrees of freedom; one seed has the inputs' interval, which speaks of that seed alone. A single t with Satterthwaite's
degrees of freedom is too narrow for few seeds: `benchmarks/seeds_coverage.py` has both, and where ours falls short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import DataError, ShapeError
from genrlhf.metrics.estimate import bounded_estimate, held_within, mean_estimate
from genrlhf.metrics.preference import generalisation_gap
from genrlhf.types import Estimate

__all__ = [
    "VarianceComponents",
    "gap_over_seeds",
    "mean_over_seeds",
    "pooled_over_seeds",
    "seeds_note",
    "share_over_seeds",
    "variance_components",
    "with_seeds",
]


@dataclass(frozen=True)
class VarianceComponents:
    """What makes values differ.

    Attributes:
        seeds: σ̂_a², between seeds; 0 where they differ no more than their inputs make them, NaN for one seed.
        inputs: σ̂_b², between inputs; NaN for one input.
        residual: MS_e, what is left; NaN for one of either.
    """

    seeds: float
    inputs: float
    residual: float


def variance_components(values: ArrayLike) -> VarianceComponents:
    """Return the variances of the model above.

    Args:
        values: (S, I) floats; an input that is NaN for a seed is left out.

    Example:
        >>> variance_components([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])  # the second seed is better by 1 on every input
        VarianceComponents(seeds=0.5, inputs=1.0, residual=0.0)
    """
    table = _table(values)
    seeds, inputs = table.shape
    residual = _residual(table)
    return VarianceComponents(
        seeds=_between(table.mean(axis=1), residual / inputs),
        inputs=_between(table.mean(axis=0), residual / seeds),
        residual=residual,
    )


def _between(means: np.ndarray, noise: float) -> float:
    """Return the variance between means beyond what the rest makes of it, NaN for a single one."""
    if len(means) < 2:
        return math.nan
    return max(0.0, float(means.var(ddof=1)) - (0.0 if math.isnan(noise) else noise))


def mean_over_seeds(values: ArrayLike, *, bounds: tuple[float, float] | None = None) -> Estimate:
    """Return the mean of a figure over seeds and inputs.

    Args:
        values: (S, I) floats, the same inputs for every seed; an input that is NaN for a seed is left out.
        bounds: the least and the largest value that there can be, if they are known (see `mean_estimate`).

    Returns:
        `values` are the inputs' averages over seeds, `n` is their number.

    Raises:
        DataError: no input is defined for all seeds, or a value is infinite or out of bounds.

    Example:
        >>> values = [[0.0, 1.0, 2.0], [0.5, 1.5, 2.5]]
        >>> print(mean_over_seeds(values[:1]), mean_over_seeds(values))
        1.000 [-1.484, 3.484] 1.250 [-2.783, 5.283]
    """
    table = _table(values)
    return _over(table, mean_estimate(table.mean(axis=0), bounds=bounds), bounds)


def share_over_seeds(values: ArrayLike, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Return the mean of shares, such as wins (1), losses (0) and ties (0.5), over seeds and inputs.

    The inputs' arm is that of the score interval, which has a width where all are won; see `proportion_estimate`.

    Args:
        values: (S, I) floats between the bounds, as for `mean_over_seeds`.
        bounds: the least and the largest value that there can be; (−1, 1) for differences of shares.

    Example:
        >>> print(share_over_seeds([[1.0] * 5] * 3))
        1.000 [0.566, 1.000]
    """
    table = _table(values)
    return _over(table, bounded_estimate(table.mean(axis=0), *bounds), bounds)


def gap_over_seeds(inside: ArrayLike, outside: ArrayLike, *, share: bool = True) -> Estimate:
    """Return how much is lost out of distribution, over the same seeds on two sets of inputs.

    A seed's gap is the difference of its two means, so that what it does to both is no error of the gap. The inputs'
    arm is that of `generalisation_gap`.

    Args:
        inside: (S, I) floats, in distribution.
        outside: (S, J) floats.
        share: of shares in [0, 1], such as PvR; otherwise of any figure.

    Returns:
        `n` is I + J; `values` is empty, since no input has a gap of its own.

    Raises:
        ShapeError: another number of seeds in one than in the other.
    """
    tables = _table(inside), _table(outside)
    if len(tables[0]) != len(tables[1]):
        raise ShapeError(f"There are {len(tables[0])} seeds in distribution, and {len(tables[1])} out of it.")
    first, second = (
        bounded_estimate(table.mean(axis=0), 0.0, 1.0) if share else mean_estimate(table.mean(axis=0))
        for table in tables
    )
    gaps = tables[0].mean(axis=1) - tables[1].mean(axis=1)
    noise = sum(_noise(table) for table in tables)
    return with_seeds(generalisation_gap(first, second), gaps, noise, bounds=(-1.0, 1.0) if share else None)


def pooled_over_seeds(estimates: Sequence[Estimate], *, bounds: tuple[float, float] | None = None) -> Estimate:
    """Return the mean over seeds of a figure that has no value per input, such as diversity across inputs.

    How much of two seeds' errors is the same, coming from the same inputs, is not known of such a figure: all of it is
    taken to be. The inputs' arm is then the average of the seeds' arms, and nothing is subtracted from the variance
    between seeds: for seeds that do not differ the interval is too wide, 2.8 times for two and 1.5 times for three.

    Args:
        estimates: one a seed, of the same inputs.
        bounds: the least and the largest value that there can be, if they are known.

    Raises:
        DataError: there are none.
    """
    if not estimates:
        raise DataError("There are no seeds; give an estimate of at least one.")
    values = np.array([each.value for each in estimates])
    value = float(values.mean())
    down, up = (float(np.mean([abs(each.value - each.ci[end]) for each in estimates])) for end in (0, 1))
    inputs = Estimate(
        value=value,
        stderr=float(np.mean([each.stderr for each in estimates])),
        ci=(value - down, value + up),
        n=min(each.n for each in estimates),
        values=estimates[0].values if len(estimates) == 1 else np.zeros(0),
    )
    return with_seeds(inputs, values, 0.0, bounds=bounds)


def with_seeds(
    inputs: Estimate, seeds: np.ndarray, noise: float, *, bounds: tuple[float, float] | None = None
) -> Estimate:
    """Return an estimate whose error is that of inputs, with the error of seeds added.

    Args:
        inputs: the figure over all seeds, with the error that its inputs give it.
        seeds: (S,) the figure of every seed.
        noise: variance of a seed's figure that is not its own but the rest's, MS_e/I, and is subtracted.
        bounds: the interval does not leave them.
    """
    if len(seeds) < 2:
        return inputs
    from scipy.special import stdtrit

    variance = max(0.0, float(np.var(seeds, ddof=1)) - noise) / len(seeds)
    arm = float(stdtrit(len(seeds) - 1, 0.975)) * math.sqrt(variance)
    down, up = (math.hypot(inputs.value - inputs.ci[0], arm), math.hypot(inputs.ci[1] - inputs.value, arm))
    stderr = math.hypot(inputs.stderr, math.sqrt(variance))
    return held_within(replace(inputs, stderr=stderr, ci=(inputs.value - down, inputs.value + up)), bounds)


def seeds_note(seeds: int) -> str | None:
    """Return what is to be said of intervals of so few seeds; None where there is nothing.

    Example:
        >>> seeds_note(1)
        'one seed of training: intervals are over inputs, and hold for that seed only.'
    """
    if seeds == 1:
        return "one seed of training: intervals are over inputs, and hold for that seed only."
    if seeds == 2:
        return (
            "two seeds of training: where seeds differ much, a 95 % interval of two contains the truth in 80 to 92 % "
            "of cases only; take three or more."
        )
    return None


def _over(table: np.ndarray, inputs: Estimate, bounds: tuple[float, float] | None) -> Estimate:
    return with_seeds(inputs, table.mean(axis=1), _noise(table), bounds=bounds)


def _noise(table: np.ndarray) -> float:
    residual = _residual(table)
    return residual / table.shape[1] if math.isfinite(residual) else 0.0


def _residual(table: np.ndarray) -> float:
    """Return MS_e."""
    seeds, inputs = table.shape
    if seeds < 2 or inputs < 2:
        return math.nan
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float((rest**2).sum() / ((seeds - 1) * (inputs - 1)))


def _table(values: ArrayLike) -> np.ndarray:
    """Return (S, I) values of the inputs that are defined for every seed."""
    try:
        table = np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise ShapeError(
            "The seeds have other numbers of inputs; give a value of every input for every seed."
        ) from error
    if table.ndim != 2 or not table.size:
        raise ShapeError(f"values has the shape {table.shape}; give (seeds, inputs), at least one of each.")
    defined: np.ndarray = table[:, ~np.isnan(table).any(axis=0)]
    if not defined.size:
        raise DataError(f"None of the {table.shape[1]} inputs has a value for every seed, so there is no mean.")
    return defined
