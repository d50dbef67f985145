"""Methods as curves of quality against diversity over the sampling temperature.

Sharpening alone trades diversity for quality, so that a point of one method above and to the left of another's says
little. What is compared is the curves: who is on the Pareto front, how diverse each method is at one quality, and which
methods do no better than what costs no training.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import ConfigError, ShapeError
from genrlhf.metrics.score_interval import difference_interval
from genrlhf.studies.results import GIVEN, Curve, CurvePoint
from genrlhf.studies.seeds import mean_over_seeds, share_over_seeds
from genrlhf.types import Estimate

__all__ = ["Point", "draw_curves", "pareto_front", "reference_point", "reference_temperature", "worst_difference"]


@dataclass(frozen=True)
class Point:
    """A method at one temperature.

    Attributes:
        temperature: as `results.temperature_key` has it.
        quality: higher is better.
        diversity: higher is more diverse.
        qualities: (S, I) the quality of every seed and input, NaN where it is undefined; None where there is no value
            per input.
        diversities: (S, I), of the same inputs.
        seeds: (S) names of the seeds; a seed of one method goes with that of the same name of another.
    """

    temperature: str
    quality: Estimate
    diversity: Estimate
    qualities: np.ndarray | None = None
    diversities: np.ndarray | None = None
    seeds: tuple[str, ...] = ("0",)

    def __post_init__(self) -> None:
        for name in ("qualities", "diversities"):
            values = getattr(self, name)
            if values is not None and (values.ndim != 2 or len(values) != len(self.seeds)):
                raise ShapeError(
                    f"{name} has the shape {values.shape}; give (seeds, inputs) of the {len(self.seeds)} seeds."
                )


def draw_curves(
    methods: Mapping[str, Sequence[Point]],
    *,
    reference: str | None = None,
    free: Collection[str] = (),
    share: bool = False,
    seed: int = 0,
) -> dict[str, Curve]:
    """Return the curve of every method.

    Args:
        methods: the points of every method.
        reference: the method whose quality the others are compared at; it is a free control too, at its other
            temperatures.
        free: the other controls that cost no training.
        share: quality is a share in [0, 1], such as PvR, whose differences have score intervals.
        seed: of the bootstrap.

    Raises:
        ConfigError: `reference` or a name in `free` is no method.
    """
    from genrlhf.studies.equal_quality import diversity_at_quality

    for name in (*free, *([] if reference is None else [reference])):
        if name not in methods:
            raise ConfigError(f"{name!r} is none of the methods ({', '.join(methods)}).")
    ordered = {name: sorted(points, key=lambda point: _order(point.temperature)) for name, points in methods.items()}
    every = [point for points in ordered.values() for point in points]
    front = iter(pareto_front([p.quality.value for p in every], [p.diversity.value for p in every]))
    target = None if reference is None else reference_point(ordered[reference])
    controls = {name: ordered[name] for name in ordered if name in free or name == reference}
    curves: dict[str, Curve] = {}
    for name, points in ordered.items():
        against = {control: theirs for control, theirs in controls.items() if control != name}
        drawn = [_drawn(point, next(front), against, share) for point in points]
        at_quality, why_not = diversity_at_quality(points, target, name=reference or "", seed=seed)
        everywhere = [set(point["dominated_by"]) for point in drawn]
        curves[name] = {
            "points": drawn,
            "at_reference_quality": at_quality,
            "why_not": why_not,
            "dominated_by": [control for control in against if drawn and all(control in by for by in everywhere)],
        }
    return curves


def pareto_front(quality: ArrayLike, diversity: ArrayLike) -> list[bool]:
    """Say which points no other one beats: at least as good in both, and better in one.

    Points that are equal in both are on the front together, or not at all. A point with a NaN is not on it.

    Args:
        quality: (P,) floats.
        diversity: (P,) floats.

    Example:
        >>> pareto_front([0.9, 0.5, 0.5, 0.5, 0.4], [0.1, 0.6, 0.6, 0.5, 0.6])
        [True, True, True, False, False]
    """
    q, d = np.asarray(quality, dtype=np.float64), np.asarray(diversity, dtype=np.float64)
    at_least = (q[:, None] >= q) & (d[:, None] >= d)
    beaten = (at_least & ~at_least.T).any(axis=0)
    return [bool(one) for one in ~beaten & ~np.isnan(q) & ~np.isnan(d)]


def reference_point(points: Sequence[Point]) -> Point | None:
    """Return the point at temperature 1, or the nearest; of two as near the cooler, None where there are none."""
    by_temperature = {point.temperature: point for point in points}
    return by_temperature[reference_temperature(list(by_temperature))] if points else None


def reference_temperature(temperatures: Sequence[str]) -> str:
    """Return the temperature nearest to 1, of two as near the cooler.

    Example:
        >>> reference_temperature(["0.5", "0.7", "1.3"])
        '0.7'
    """
    return min(temperatures, key=lambda name: (abs(_order(name) - 1), _order(name)))


def _order(temperature: str) -> float:
    """Return a temperature as a number; of outputs that were given none is known, and they have one point alone."""
    return math.inf if temperature == GIVEN else float(temperature)


def _drawn(point: Point, on_front: bool, controls: Mapping[str, Sequence[Point]], share: bool) -> CurvePoint:
    by = [name for name, points in controls.items() if any(_beats(theirs, point, share) for theirs in points)]
    return {
        "temperature": point.temperature,
        "quality": point.quality,
        "diversity": point.diversity,
        "on_front": on_front,
        "dominated_by": by,
    }


def _beats(control: Point, point: Point, share: bool) -> bool:
    """Say whether the intervals of both differences exclude that the control is worse."""
    quality = worst_difference(control, point, "quality", share=share)
    return quality >= 0 and worst_difference(control, point, "diversity") >= 0


def worst_difference(first: Point, second: Point, figure: str, *, share: bool = False) -> float:
    """Return the lower end of the 95 % interval of the first point's figure less the second's; NaN where there is none.

    Where both have values, these are paired by input, and by seed where both have seeds of the same names; other seeds
    are averaged over, and the interval then holds for them alone. Without values the two are taken to be independent.

    Args:
        first: a point.
        second: another.
        figure: "quality" or "diversity".
        share: it is a share in [0, 1].
    """
    values = [point.qualities if figure == "quality" else point.diversities for point in (first, second)]
    a, b = values
    if a is None or b is None or a.shape[1] != b.shape[1]:
        mine, theirs = getattr(first, figure), getattr(second, figure)
        return difference_interval(mine.value, mine.ci, theirs.value, theirs.ci)[0]
    names = [name for name in first.seeds if name in second.seeds]
    if names:
        a, b = (
            table[[point.seeds.index(name) for name in names]]
            for table, point in zip((a, b), (first, second), strict=True)
        )
    else:
        a, b = a.mean(axis=0, keepdims=True), b.mean(axis=0, keepdims=True)
    differences = a - b
    if np.isnan(differences).any(axis=0).all():
        return math.nan
    found = share_over_seeds(differences, bounds=(-1.0, 1.0)) if share else mean_over_seeds(differences)
    return found.ci[0]
