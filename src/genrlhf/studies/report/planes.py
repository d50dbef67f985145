"""The planes of a report: quality against diversity, set by set, and reward against KL."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from genrlhf.studies.curves import Point, reference_point
from genrlhf.studies.report.cells import QUALITY_LABELS, Row, rows_of
from genrlhf.studies.report.svg import Axis, Level, Series
from genrlhf.studies.report.svg import Point as Mark
from genrlhf.studies.report.tables import metric_label, set_label
from genrlhf.studies.results import GIVEN, Results, diversity_of, quality_of
from genrlhf.types import Estimate

__all__ = ["Plane", "planes_of", "reference_level"]


@dataclass(frozen=True)
class Plane:
    """A plot and what it says.

    Attributes:
        title: its heading.
        description: what is to be known to read it.
        series: the methods on it.
        x: across.
        y: up.
        level: a height that methods are compared at.
    """

    title: str
    description: str
    series: Sequence[Series]
    x: Axis
    y: Axis
    level: Level | None = None


def planes_of(results: Results) -> list[Plane]:
    """Return the planes that there is something on, the one with the front first."""
    found = [*_quality_planes(results), _reward_kl(results)]
    return [plane for plane in found if plane is not None and any(one.points for one in plane.series)]


def reference_level(results: Results) -> float | None:
    """Return the quality that methods are compared at: that of the reference's point at temperature 1, or nearest."""
    reference = results["reference"]
    curve = None if reference is None else results["curves"].get(reference)
    points = [] if curve is None else curve["points"]
    point = reference_point([Point(one["temperature"], one["quality"], one["diversity"]) for one in points])
    return None if point is None else point.quality.value


def _quality_planes(results: Results) -> Iterable[Plane]:
    quality, diversity = results["quality"], results["diversity"]
    if quality is None or diversity is None:
        return
    level, _, metric = diversity.partition(".")
    x = Axis(f"{'diversity per input' if level == 'per_input' else 'diversity across inputs'} ({metric_label(metric)})")
    words = QUALITY_LABELS.get(quality, quality)
    for number, name in enumerate(results["sets"]):
        main = number == 0
        series = _series(
            results,
            lambda row, name=name: (
                diversity_of(row.figures, diversity),
                quality_of(row.figures, quality, name),
            ),
            marked=main,
        )
        height = reference_level(results) if main else None
        reference = "" if results["reference"] is None else _label(results, results["reference"])
        scale = 100.0 if quality == "pvr" else 1.0
        yield Plane(
            f"Quality against diversity, {set_label(name)}",
            "Up is better and right more diverse: what lies below and to the left of another point is worse in both."
            if main
            else f"Quality on the set {set_label(name)}; diversity as in the first plot.",
            series,
            x,
            Axis(f"{words[0].lower()}{words[1:]} ({set_label(name)})".replace(", % (", " (%, "), scale),
            None if height is None or not math.isfinite(height) else Level(height, f"quality of {reference}"),
        )


def _reward_kl(results: Results) -> Plane | None:
    first = results["sets"][0]
    series = _series(results, lambda row: (row.figures.get("kl"), quality_of(row.figures, "reward", first)))
    values = {point.x.value for one in series for point in one.points}
    if len(values) < 2:
        return None
    return Plane(
        "Reward against KL",
        "What was paid for the reward, in nats that an output is away from the reference model. Of best-of-N it is an "
        "upper bound. The axis is that of a square root.",
        series,
        Axis("KL (nats an output, square-root axis)", root=True),
        Axis(f"reward ({set_label(first)})"),
    )


def _series(results: Results, of: Any, *, marked: bool = False) -> list[Series]:
    """Return the points of every method: where they are is what `of` says of their rows.

    Args:
        results: what has the methods.
        of: `row -> (x, y)`, each an estimate or None.
        marked: say what is on the front, and what a control dominates.
    """
    rows: dict[str, list[Row]] = {}
    for row in rows_of(results):
        rows.setdefault(row.method, []).append(row)
    found = []
    for group in rows.values():
        points = []
        for row in group:
            x, y = of(row)
            if _finite(x) and _finite(y):
                at = "" if row.temperature == GIVEN else f"T {row.temperature}"
                points.append(Mark(x, y, at, marked and row.on_front, marked and bool(row.dominated_by)))
        found.append(Series(group[0].label, group[0].position, points))
    return found


def _finite(estimate: Any) -> bool:
    return isinstance(estimate, Estimate) and math.isfinite(estimate.value)


def _label(results: Results, name: str) -> str:
    return results["methods"][name]["label"] or name
