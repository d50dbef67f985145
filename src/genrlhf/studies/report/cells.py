"""What a report shows of every method at every temperature: rows, columns, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genrlhf.studies.report.tables import metric_label, set_label
from genrlhf.studies.results import GIVEN, CurvePoint, Results
from genrlhf.types import Estimate

__all__ = ["Column", "Group", "Row", "all_groups", "number", "overview", "rows_of", "temperature_text"]

QUALITY_LABELS = {"pvr": "Preferred to the reference, %", "gold": "Gold score", "reward": "Reward"}
LEVEL_LABELS = {"per_input": "Diversity per input", "across_input": "Diversity across inputs"}
_FORGETTING = {"base_loss": "loss of the base", "increase": "loss less the base's", "forward_kl": "KL from the base"}
_SOLUTIONS = {
    "distinct_valid": "distinct",
    "yield": "distinct of all",
    "exp_entropy": "exp(H)",
    "effective_diversity": "effective diversity",
}
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Column:
    """A figure of every row.

    Attributes:
        path: where it stands among the figures, such as ("pvr", "id").
        heading: of the column.
        percent: whether it is shown in percent.
        decimals: how many are shown.
    """

    path: tuple[str, ...]
    heading: str
    percent: bool = False
    decimals: int = 2

    def of(self, figures: Mapping[str, Any]) -> Estimate | None:
        """Return the figure, None where it was not measured or is not a number."""
        found: Any = figures
        for name in self.path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, Estimate) and math.isfinite(found.value) else None

    def shown(self, value: float) -> str:
        """Return a value of this column as it is shown."""
        return number(100 * value if self.percent else value, 1 if self.percent else self.decimals)


@dataclass(frozen=True)
class Group:
    """Columns that belong together, under one heading."""

    heading: str
    columns: Sequence[Column]


@dataclass(frozen=True)
class Row:
    """A method at a temperature.

    Attributes:
        method: its name.
        label: what it is called.
        temperature: a key of the method's `temperatures`.
        figures: over all seeds.
        seeds: the figures of single seeds, by their names, where there are several.
        position: of the method among all, from 0, which its colour and shape go by.
        on_front: no other point is better in both quality and diversity.
        dominated_by: controls that cost no training and are better in both.
    """

    method: str
    label: str
    temperature: str
    figures: Mapping[str, Any]
    seeds: Mapping[str, Mapping[str, Any]]
    position: int
    on_front: bool
    dominated_by: Sequence[str]


def rows_of(results: Results) -> list[Row]:
    """Return a row for every method and temperature, methods as they come and temperatures rising."""
    rows = []
    for position, (name, method) in enumerate(results["methods"].items()):
        points = {point["temperature"]: point for point in _points(results, name)}
        for temperature in sorted(method["temperatures"], key=_by_number):
            figures: Mapping[str, Any] = method["temperatures"][temperature]
            seeds = figures.get("seeds", {})
            seeds = seeds if len(seeds) > 1 else {}
            point = points.get(temperature)
            front, over = (False, []) if point is None else (point["on_front"], point.get("dominated_by", []))
            rows.append(Row(name, method["label"] or name, temperature, figures, seeds, position, front, over))
    return rows


def overview(results: Results) -> list[Group]:
    """Return what a study is about: quality on every set, its gaps, the diversity of the plane, and the KL."""
    rows = rows_of(results)
    everything = {column.path: (group, column) for group in all_groups(results) for column in group.columns}
    level, _, metric = (results["diversity"] or "").partition(".")
    wanted: list[tuple[str, ...]] = []
    if results["quality"]:
        wanted += [(results["quality"], name) for name in results["sets"]]
    if results["quality"] == "pvr":
        wanted += [path for path in everything if path[0] == "gaps"]
    wanted += [("diversity", level, metric), ("kl",), ("forgetting", "increase"), ("forgetting", "forward_kl")]
    found: dict[str, list[Column]] = {}
    for path in wanted:
        if path in everything and any(everything[path][1].of(row.figures) for row in rows):
            group, column = everything[path]
            found.setdefault(group.heading, []).append(column)
    return [Group(heading, columns) for heading, columns in found.items()]


def all_groups(results: Results) -> list[Group]:
    """Return the columns of all figures there are, in any row or seed."""
    every = [figures for row in rows_of(results) for figures in (row.figures, *row.seeds.values())]
    paths = list(dict.fromkeys(path for figures in every for path in _paths(figures)))
    # A gap to the set called "ood" stands among all gaps, too.
    if any(path[0] == "gaps" for path in paths):
        paths = [path for path in paths if path != ("gap",)]
    order = (
        *("pvr", "gaps", "gap_per_shift", "gold", "reward", "pass_at_k", "solutions", "kl", "forgetting"),
        "diversity",
    )
    first = {**{name: place for place, name in enumerate(order)}, "gap": 1}
    paths.sort(key=lambda path: (first.get(path[0], len(order)), _place(path, results["sets"])))
    groups: dict[str, list[Column]] = {}
    for path in paths:
        heading, column = _column(path, results["quality"])
        groups.setdefault(heading, []).append(column)
    return [Group(heading, columns) for heading, columns in groups.items()]


def number(value: float, decimals: int) -> str:
    """Return a number with as many decimals, fewer where it is large, and a minus sign as wide as a plus."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    if 0 < abs(value) < 0.5 * 10**-decimals or abs(value) >= 1e7:
        text = f"{value:.2g}"
    else:
        # Without the sign of a zero.
        text = f"{value + 0.0:,.{decimals if abs(value) < 1000 else 0}f}"
    return text.replace("-", _MINUS)


def temperature_text(temperature: str) -> str:
    """Return what a temperature is called."""
    return "as given" if temperature == GIVEN else temperature


def _points(results: Results, method: str) -> Sequence[CurvePoint]:
    curve = results["curves"].get(method)
    return [] if curve is None else curve["points"]


def _by_number(temperature: str) -> tuple[bool, float, str]:
    try:
        return False, float(temperature), temperature
    except ValueError:
        return True, 0.0, temperature


def _paths(figures: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where there are estimates, those of single seeds left out."""
    for name, value in figures.items():
        if isinstance(value, Estimate):
            yield (*before, name)
        elif isinstance(value, Mapping) and (before or name != "seeds"):
            yield from _paths(value, (*before, name))


def _place(path: tuple[str, ...], sets: Iterable[str]) -> tuple[int, ...]:
    order = list(sets)
    if path[0] == "diversity":
        return (0 if path[1] == "per_input" else 1,)
    return (order.index(path[-1]) if path[-1] in order else len(order),)


def _column(path: tuple[str, ...], quality: str | None) -> tuple[str, Column]:
    """Return the heading of a figure's group, and its column."""
    if path[0] == "gap_per_shift" and len(path) == 2:
        return "Gap for a shift of 1", Column(path, path[1], percent=quality == "pvr", decimals=3)
    if path[0] == "pvr" and len(path) == 2:
        return QUALITY_LABELS["pvr"], Column(path, set_label(path[1]), percent=True)
    if path[0] in ("gap", "gaps"):
        return QUALITY_LABELS["pvr"], Column(path, f"gap {set_label(path[1] if len(path) == 2 else 'ood')}", True)
    if path[0] in QUALITY_LABELS and len(path) == 2:
        return QUALITY_LABELS[path[0]], Column(path, set_label(path[1]))
    if path[0] == "pass_at_k" and len(path) == 2:
        return "Solved by one of k outputs, %", Column(path, f"k = {path[1]}", percent=True)
    if path[0] == "solutions" and len(path) == 2:
        return "Right outputs", Column(path, _SOLUTIONS.get(path[1], path[1]), decimals=3)
    if path[0] == "forgetting" and len(path) == 2:
        return "Forgetting, nats a token", Column(path, _FORGETTING.get(path[1], path[1]), decimals=3)
    if path == ("kl",):
        return "KL", Column(path, "nats an output")
    if path[0] == "diversity" and len(path) == 3:
        return LEVEL_LABELS.get(path[1], path[1]), Column(path, metric_label(path[2]), decimals=3)
    # Figures of a later time are shown by their own names.
    return path[0].replace("_", " "), Column(path, " ".join(path[1:]).replace("_", " ") or "value", decimals=3)
