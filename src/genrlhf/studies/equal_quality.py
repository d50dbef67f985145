"""Diversity at one quality: where a method's curve over temperatures has it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from genrlhf.studies.seeds import with_seeds
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from genrlhf.studies.curves import Point

__all__ = ["crossing", "diversity_at_quality"]

RESAMPLES = 2000
_NUMBERS_AT_ONCE = 4_000_000
_MOST_UNDEFINED = 0.025
"""Of the resamples; beyond, an end of the interval lies where the curve is not."""


def diversity_at_quality(
    points: Sequence[Point], target: Point | None, *, name: str = "the reference", seed: int = 0
) -> tuple[Estimate | None, str | None]:
    """Return the diversity of a method where it has the quality of `target`, and why there is none or no interval.

    Between neighbouring temperatures the curve is taken to be straight: with quality q and diversity d at both ends of
    a piece, and the level q* between them::

        d* = d_0 + (q* − q_0) (d_1 − d_0) / (q_1 − q_0)

    Where the level is crossed more than once, the highest diversity is taken: all those temperatures have the quality
    asked for, and who wants it can choose the most diverse. Outside of the qualities that the curve has, there is no
    value: it is not continued.

    The interval is a bootstrap's over inputs, by expanded percentiles (Hesterberg 2015, "What Teachers Should Know
    About the Bootstrap", section 4.2). An input is drawn with all its values, of every temperature and of the target,
    so that an input that is easy for both makes no error. Seeds are too few to be drawn from: their arm is Student's,
    of d* linearised in the figures that it is made of, put beside the inputs' as in `seeds`.

    Args:
        points: by rising temperature.
        target: the point whose quality is the level; None where there is no reference.
        name: of the method that it is a point of.
        seed: of the resamples.

    Returns:
        An estimate with NaN ends, and the reason, where there is a value but no interval; None, and the reason, where
        there is no value; no reason where nothing is missing.
    """
    if target is None:
        return None, None
    level = target.quality.value
    known = [point for point in points if _finite(point.quality.value) and _finite(point.diversity.value)]
    if not known or not _finite(level):
        return None, "quality or diversity was not measured."
    qualities = np.array([point.quality.value for point in known])
    value, place = crossing(qualities, np.array([point.diversity.value for point in known]), level)
    if math.isnan(value):
        return None, _outside(known, qualities, level, name)
    own = next((row for row, point in enumerate(known) if point is target), None)
    tables = _tables([*known, target], len(known) if own is None else own)
    bare = Estimate(value, math.nan, (math.nan, math.nan), known[place].diversity.n, np.zeros(0))
    if tables is None:
        return bare, "there is no interval: these figures have no values of the same inputs."
    if len(known) == 1 and own is None:
        return bare, "there is no interval: it has one temperature only."
    drawn = _resampled(tables, seed)
    undefined = float(np.isnan(drawn).mean())
    if undefined > _MOST_UNDEFINED:
        return bare, (
            f"there is no interval: in {100 * undefined:.0f} % of resamples the quality of {name} lies outside of its "
            "own; sample it at further temperatures, or take more inputs."
        )
    found = _percentiles(value, drawn, tables)
    if not found.ci[0] < found.ci[1]:
        return bare, "there is no interval: resamples are all alike, and do not tell how far off it may be."
    return _with_all_seeds(found, known, target, place), None


def crossing(qualities: np.ndarray, diversities: np.ndarray, level: float) -> tuple[float, int]:
    """Return the highest diversity of a curve of straight pieces at one quality, and the piece (its first point).

    Args:
        qualities: (K,) by rising temperature.
        diversities: (K,).
        level: the quality.

    Returns:
        NaN and 0 where the curve does not have it.

    Example:
        >>> crossing(np.array([0.8, 0.6, 0.2]), np.array([0.1, 0.3, 0.5]), 0.5)
        (0.35, 1)
    """
    found = _crossings(qualities[None], diversities[None], np.array([level]))[0]
    if np.isnan(found).all():
        return math.nan, 0
    place = int(np.nanargmax(found))
    return float(found[place]), place


def _crossings(qualities: np.ndarray, diversities: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return the diversity at a level on every piece, (R, max(K − 1, 1)), NaN where a piece does not have it.

    Args:
        qualities: (R, K).
        diversities: (R, K).
        levels: (R,).
    """
    if qualities.shape[1] == 1:
        return np.where(qualities == levels[:, None], diversities, np.nan)
    q0, q1, d0, d1 = qualities[:, :-1], qualities[:, 1:], diversities[:, :-1], diversities[:, 1:]
    level, flat = levels[:, None], q0 == q1
    along = (level - q0) / np.where(flat, 1.0, q1 - q0)
    # Of a piece of one quality the more diverse end; at an end the point itself, without the rounding of a quotient.
    value = np.where(flat, np.maximum(d0, d1), d0 + along * (d1 - d0))
    value = np.where(level == q0, np.where(flat, value, d0), np.where(level == q1, d1, value))
    return np.where((np.minimum(q0, q1) <= level) & (level <= np.maximum(q0, q1)), value, np.nan)


@dataclass(frozen=True)
class _Tables:
    """Values per input, averaged over seeds.

    Attributes:
        qualities: (K + 1, I), NaN where a seed has none; the last row is the target's.
        diversities: (K, I).
        level: the row whose mean is the level: that of the point which is the target itself, where there is one, so
            that equal numbers are equal.
    """

    qualities: np.ndarray
    diversities: np.ndarray
    level: int


def _tables(points: Sequence[Point], level: int) -> _Tables | None:
    qualities = [point.qualities for point in points]
    diversities = [point.diversities for point in points[:-1]]
    rows = [np.zeros((0, 0)) if table is None else table for table in (*qualities, *diversities)]
    inputs = {table.shape[1] for table in rows}
    if len(inputs) > 1 or inputs == {0} or any(np.isnan(table.mean(axis=0)).all() for table in rows):
        return None
    means = np.array([table.mean(axis=0) for table in rows])
    return _Tables(means[: len(points)], means[len(points) :], level)


def _resampled(tables: _Tables, seed: int) -> np.ndarray:
    """Return d* of every resample of inputs, NaN where the curve does not have the level."""
    generator = np.random.default_rng(seed)
    inputs = tables.qualities.shape[1]
    step, found = max(1, _NUMBERS_AT_ONCE // inputs), []
    for start in range(0, RESAMPLES, step):
        counts = generator.multinomial(inputs, np.full(inputs, 1 / inputs), size=min(step, RESAMPLES - start))
        qualities, diversities = (_means(counts, table) for table in (tables.qualities, tables.diversities))
        pieces = _crossings(qualities[:, :-1], diversities, qualities[:, tables.level])
        found.append(np.where(np.isnan(pieces).all(axis=1), np.nan, np.nanmax(pieces, axis=1, initial=-np.inf)))
    return np.concatenate(found)


def _means(counts: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return the means of every row of a table over resamples, (R, rows), of what is defined."""
    defined = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = counts @ np.where(defined, table, 0.0).T / (counts @ defined.T)
    return means


def _percentiles(value: float, drawn: np.ndarray, tables: _Tables) -> Estimate:
    from scipy.special import stdtrit

    n = int((~np.isnan(tables.diversities)).all(axis=0).sum())
    ci = math.nan, math.nan
    if n > 1:
        # A resample of n differs by √((n − 1)/n) of the error, and knows no Student's t.
        tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, 0.975)))
        low, high = np.nanquantile(drawn, [tail, 1 - tail])
        ci = float(low), float(high)
    return Estimate(value, float(np.nanstd(drawn)), ci, n, np.zeros(0))


def _with_all_seeds(inputs: Estimate, points: Sequence[Point], target: Point, place: int) -> Estimate:
    """Add the error of seeds: of d* linearised, those of the method and of the target together where they are the same.

    With the share λ of the piece at q* and its slope m = (d_1 − d_0)/(q_1 − q_0), the differential of d* is
    (1 − λ) δd_0 + λ δd_1 − m (1 − λ) δq_0 − m λ δq_1 + m δq*.
    """
    ends = [points[place], points[min(place + 1, len(points) - 1)]]
    (q0, q1), (d0, d1) = ([end.quality.value for end in ends], [end.diversity.value for end in ends])
    along = 0.0 if q0 == q1 else (target.quality.value - q0) / (q1 - q0)
    slope = 0.0 if q0 == q1 else (d1 - d0) / (q1 - q0)
    own = [
        (1 - along, ends[0], ends[0].diversities),
        (along, ends[1], ends[1].diversities),
        (-slope * (1 - along), ends[0], ends[0].qualities),
        (-slope * along, ends[1], ends[1].qualities),
    ]
    theirs = [(slope, target, target.qualities)]
    together = [*own, *theirs]
    found = inputs
    for terms in [together] if len(_seeds_of(together)) > 1 else [own, theirs]:
        names = _seeds_of(terms)
        tables = [
            (weight, table[[point.seeds.index(name) for name in names]])
            for weight, point, table in terms
            if weight and table is not None
        ]
        if tables and len(names) > 1:
            found = with_seeds(found, *_linearised(tables))
    return found


_Terms = Sequence[tuple[float, "Point", "np.ndarray | None"]]
"""Weights, points, and their values."""


def _seeds_of(terms: _Terms) -> list[str]:
    """Return the seeds that all points have."""
    points = [point for _, point, _ in terms]
    return [name for name in points[0].seeds if all(name in point.seeds for point in points)]


def _linearised(terms: Sequence[tuple[float, np.ndarray]]) -> tuple[np.ndarray, float]:
    """Return the sum of weighted means of every seed, and the variance that inputs give it beside the seed's own."""
    means, rest = np.zeros(len(terms[0][1])), np.zeros_like(terms[0][1])
    for weight, table in terms:
        defined = ~np.isnan(table).any(axis=0)
        of_seeds = table[:, defined].mean(axis=1, keepdims=True)
        means += weight * of_seeds[:, 0]
        away = table[:, defined] - of_seeds
        # Inputs that have no value move the mean by nothing, and the others by more.
        rest[:, defined] += weight * table.shape[1] / defined.sum() * (away - away.mean(axis=0))
    seeds, inputs = rest.shape
    noise = float((rest**2).sum() / (max(seeds - 1, 1) * max(inputs - 1, 1))) / inputs
    return means, noise


def _outside(points: Sequence[Point], qualities: np.ndarray, level: float, name: str) -> str:
    above = bool((qualities > level).all())
    end = int(qualities.argmin() if above else qualities.argmax())
    return (
        f"its quality is {'above' if above else 'below'} that of {name} ({level:.3g}) at every temperature sampled "
        f"({'lowest' if above else 'highest'} {qualities[end]:.3g} at {points[end].temperature})."
    )


def _finite(value: float) -> bool:
    return math.isfinite(value)
