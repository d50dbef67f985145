"""How many inputs it takes to see a difference of a given size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.diversity.set_metric import as_set_metric
from genrlhf.metrics.estimate import mean_intervals
from genrlhf.metrics.score_interval import score_interval, score_statistic
from genrlhf.types import DiversityMetric

__all__ = [
    "SamplesNeeded",
    "diversity_inputs_needed",
    "independent_inputs_needed",
    "inputs_needed",
    "shares_needed",
]

_Z = NormalDist().inv_cdf(0.975)
_NUMBERS_AT_ONCE = 2_000_000
_SIMULATED_UP_TO = 20_000
"""Inputs beyond which means are normal to three digits, whatever the values."""
_EVERY_SIZE_UP_TO = 300
_ROUNDS = 4

Seen: TypeAlias = Callable[[np.random.Generator, int, int], int]
"""`(generator, n, simulations) -> in how many of them n inputs show the difference`."""


@dataclass(frozen=True)
class SamplesNeeded:
    """What a difference of diversity needs with so many samples of every input.

    Attributes:
        samples: K, outputs of an input.
        same_inputs: inputs, if both models answer the same ones.
        other_inputs: inputs of either model, if they answer different ones.
        sd_same: standard deviation of the difference of an input.
        sd_other: that of the diversity of an input. Each is None where the file does not tell it: too few samples, or
            values that do not differ.
    """

    samples: int
    same_inputs: int | None
    other_inputs: int | None
    sd_same: float | None
    sd_other: float | None


def inputs_needed(
    differences: ArrayLike, difference: float, *, power: float = 0.8, simulations: int = 4000, seed: int = 0
) -> int:
    """Return how many inputs show a difference of a mean: the interval of `mean_estimate` then leaves out 0.

    Of normal values that is about ((1.96 + z) s / difference)², with z the quantile of the power (0.84 for 80 %).
    From there on samples are drawn from the values themselves, shifted so that their mean is the difference, and the
    number is mended by what they show.

    Args:
        differences: (m,) finite floats, of inputs, whatever their mean.
        difference: what shall be seen, not 0.
        power: in how many of many samples, between 0 and 1.
        simulations: samples that are drawn for each number of inputs that is tried.
        seed: of these.

    Raises:
        ConfigError: for a difference of 0, or a power that is not between 0.05 and 1.
        DataError: there are fewer than 2 values, or all are equal.

    Example:
        >>> inputs_needed([-1.0, 1.0] * 20, 0.5)
        32
    """
    values = _spread_out(differences)
    population = values - values.mean() + difference

    def seen(generator: np.random.Generator, n: int, times: int) -> int:
        ends = mean_intervals(generator.choice(population, size=(times, n)))
        return int(((ends[:, 0] > 0) | (ends[:, 1] < 0)).sum())

    return _search(float(values.std(ddof=1)), difference, power, seen, simulations, seed)


def independent_inputs_needed(
    values: ArrayLike, difference: float, *, power: float = 0.8, simulations: int = 4000, seed: int = 0
) -> int:
    """Return how many inputs of each of two models, other ones, show a difference of their means.

    Arguments and errors are those of `inputs_needed`, but `values` are those of the inputs of one model; the other's
    are taken to be spread as they are. The interval is that of `generalisation_gap`.
    """
    given = _spread_out(values)

    def seen(generator: np.random.Generator, n: int, times: int) -> int:
        sides = [generator.choice(given, size=(times, n)) for _ in range(2)]
        (a, b), (first, second) = (side.mean(axis=1) for side in sides), map(mean_intervals, sides)
        gap = a - b + difference
        down = np.hypot(a - first[:, 0], second[:, 1] - b)
        up = np.hypot(first[:, 1] - a, b - second[:, 0])
        return int(((gap - down > 0) | (gap + up < 0)).sum())

    return _search(math.sqrt(2) * float(given.std(ddof=1)), difference, power, seen, simulations, seed)


def shares_needed(
    shares: ArrayLike,
    difference: float,
    *,
    null: float = 0.5,
    low: float = 0.0,
    high: float = 1.0,
    power: float = 0.8,
    simulations: int = 4000,
    seed: int = 0,
) -> int:
    """Return how many comparisons show that a win rate is not `null`: its score interval then leaves it out.

    What they are drawn from is as the shares that are there, with more of the wins or of the losses such that the mean
    is `null` + `difference` (exponential tilting, which keeps the bounds and nearly keeps the share of ties); half a
    value at either bound is added, so that there are both.

    Args:
        shares: (m,) floats in [low, high], such as wins (1), losses (0) and ties (0.5).
        difference: from `null`, not 0; `null` + `difference` must lie between the bounds.
        null: what is to be told from.
        low: the least value that there can be; −1 for paired differences of shares, with `null` 0.
        high: the largest.
        power: as of `inputs_needed`.
        simulations: as of `inputs_needed`.
        seed: of these.

    Raises:
        ConfigError: for a difference of 0 or beyond the bounds, or a power that is not between 0.05 and 1.
        DataError: there are no shares, or one is out of bounds.

    Example:
        >>> shares_needed([1.0, 0.0] * 50, 0.1)
        187
    """
    if not low < null + difference < high:
        raise ConfigError(
            f"A difference of {difference:g} from {null:g} is {null + difference:g}; it must lie between {low:g} and "
            f"{high:g} (shares, not percent)."
        )
    given = np.asarray(shares, dtype=np.float64).reshape(-1)
    score_interval(given, low, high)
    levels, counts = np.unique(np.append(given, [low, high]), return_counts=True)
    weights = counts.astype(np.float64)
    weights[[0, -1]] -= 0.5
    chances = _tilted(levels, weights / weights.sum(), null + difference)
    spread = math.sqrt(float(chances @ (levels - null - difference) ** 2))

    def seen(generator: np.random.Generator, n: int, times: int) -> int:
        drawn = generator.multinomial(n, chances, size=times)
        counts, times_each = np.unique(drawn, axis=0, return_counts=True)
        shown = score_statistic(levels, counts.astype(np.float64), null, low, high) > _Z * _Z
        return int(times_each[shown].sum())

    return _search(spread, difference, power, seen, simulations, seed, lattice=True)


def diversity_inputs_needed(
    outputs: Sequence[Sequence[str]],
    metric: DiversityMetric,
    difference: float,
    *,
    second: Sequence[Sequence[str]] | None = None,
    samples: Sequence[int] | None = None,
    power: float = 0.8,
    seed: int = 0,
) -> list[SamplesNeeded]:
    """Return how many inputs show a difference of per-input diversity, for several numbers of samples of an input.

    Inputs differ in diversity, and of one input so do its samples. On the same inputs the first cancels, as far as the
    two models differ alike on all of them. With outputs of a `second` model the differences are its own; without,
    those of the samples alone: two halves of an input's samples are two such models, so this is known for up to half
    of them, and for more the variance is taken to fall as 1/K. Then it is the least that it takes.

    Args:
        outputs: one list of outputs per input, as many of each.
        metric: D.
        difference: what shall be seen, in units of D.
        second: outputs of another model for the same inputs in the same order.
        samples: numbers K of samples; by default the powers of two from what the metric needs, and all there are.
        power: as of `inputs_needed`.
        seed: of the simulations.

    Raises:
        DataError: inputs have other numbers of outputs, or D is undefined or the same for all of them.
        ConfigError: a K is below what the metric needs or above what there is, or as of `inputs_needed`.
    """
    measure = as_set_metric(metric)
    there = {len(texts) for texts in (*outputs, *(second or []))}
    if len(there) != 1 or (second is not None and len(second) != len(outputs)):
        raise DataError(
            "Inputs must have as many outputs each, and both models the same inputs; diversity depends on K."
        )
    most = there.pop()
    least = max(measure.min_texts, 1)
    if most < least:
        raise DataError(f"Inputs have {most} output(s) each, and {measure.name} needs at least {least}; sample more.")
    if samples is None:
        samples = sorted({k for k in (2**power_of for power_of in range(20)) if least <= k < most} | {most})
    found = []
    for k in samples:
        if not least <= k <= most:
            raise ConfigError(f"{measure.name} of {k} samples: give {least} to {most}, which is what the file has.")
        values = measure.values([texts[:k] for texts in outputs])
        if second is not None:
            paired: np.ndarray | None = measure.values([texts[:k] for texts in second]) - values
        else:
            paired = _of_halves(outputs, measure.values, k, most, least)
        same, sd_same = _needed(inputs_needed, paired, difference, power, seed)
        other, sd_other = _needed(independent_inputs_needed, values, difference, power, seed)
        found.append(SamplesNeeded(k, same, other, sd_same, sd_other))
    if all(one.same_inputs is None and one.other_inputs is None for one in found):
        raise DataError(f"{measure.name} is the same, or undefined, for all {len(outputs)} inputs; give more of them.")
    return found


def _needed(
    count: Callable[..., int], values: np.ndarray | None, difference: float, power: float, seed: int
) -> tuple[int | None, float | None]:
    """Return what `count` says of the defined values, and their standard deviation; None where they do not differ."""
    defined = np.zeros(0) if values is None else values[~np.isnan(values)]
    if len(defined) < 2 or np.ptp(defined) == 0:
        return None, None
    return count(defined, difference, power=power, seed=seed), float(defined.std(ddof=1))


def _of_halves(
    outputs: Sequence[Sequence[str]],
    values: Callable[[Sequence[Sequence[str]]], np.ndarray],
    k: int,
    most: int,
    least: int,
) -> np.ndarray | None:
    """Return the differences of two sets of an input's own samples, as if of k each; None for too few samples."""
    size = min(k, most // 2)
    if size < least:
        return None
    halves = [values([texts[start : start + size] for texts in outputs]) for start in (0, size)]
    apart: np.ndarray = (halves[1] - halves[0]) * math.sqrt(size / k)
    return apart


def _spread_out(values: ArrayLike) -> np.ndarray:
    given = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(given) < 2 or not np.isfinite(given).all() or np.ptp(given) == 0:
        raise DataError(
            f"There are {len(given)} values, which do not differ or are not finite; how many inputs a difference "
            "needs is known from two or more that differ."
        )
    return given


def _tilted(levels: np.ndarray, chances: np.ndarray, mean: float) -> np.ndarray:
    """Return chances ∝ chances · exp(t · levels) with t such that the mean is `mean`."""
    from scipy.optimize import brentq
    from scipy.special import softmax

    logs = np.log(chances)
    scale = 700 / float(np.ptp(levels))

    def off(t: float) -> float:
        return float(softmax(logs + t * levels) @ levels) - mean

    return np.asarray(softmax(logs + brentq(off, -scale, scale) * levels))


def _search(
    spread: float,
    difference: float,
    power: float,
    seen: Seen,
    simulations: int,
    seed: int,
    *,
    lattice: bool = False,
) -> int:
    """Return the number of inputs whose power is `power`, from the normal one and what simulations show of it."""
    if not difference or not math.isfinite(difference):
        raise ConfigError(f"The difference is {difference}; give the size that shall be seen, not 0.")
    if not 0.05 < power < 1:
        raise ConfigError(f"power is {power}; give a share of samples between 0.05 and 1, such as 0.8.")
    quantile = NormalDist().inv_cdf
    n = max(2.0, ((_Z + quantile(power)) * spread / difference) ** 2)
    # Power grows with √n difference / s − 1.96; each round mends n by that.
    for round_ in range(_ROUNDS):
        if n > _SIMULATED_UP_TO:
            return math.ceil(n)
        reached = _share_seen(seen, round(n), simulations, (seed, round_))
        within = min(max(reached, 1 / simulations), 1 - 1 / simulations)
        mended = max(2.0, n * ((_Z + quantile(power)) / max(_Z + quantile(within), 0.5)) ** 2)
        # Noise of a round is not followed all the way.
        n = mended if round_ == 0 else (n + mended) / 2
    if not lattice or n > _EVERY_SIZE_UP_TO:
        return math.ceil(n)
    # Power goes up and down with the number of whole wins; more simulations, since the first that reaches it is taken.
    size = max(2, round(0.85 * n) - 1)
    while size < 2 * n + 2 and _share_seen(seen, size, 5 * simulations, (seed, _ROUNDS + size)) < power:
        size += max(1, size // 50)
    return size


def _share_seen(seen: Seen, n: int, simulations: int, seed: tuple[int, int]) -> float:
    generator, step = np.random.default_rng(seed), max(1, _NUMBERS_AT_ONCE // n)
    starts = range(0, simulations, step)
    return sum(seen(generator, n, min(step, simulations - start)) for start in starts) / simulations
