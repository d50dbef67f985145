"""pass@k of every method, and from how many outputs on the model that it comes from solves more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from genrlhf.studies.curves import reference_temperature
from genrlhf.studies.report.cells import Row, rows_of, temperature_text
from genrlhf.studies.report.markup import element, name, scrolling, text
from genrlhf.studies.report.planes import Plane
from genrlhf.studies.report.svg import Axis, Point, Series
from genrlhf.studies.results import Results
from genrlhf.types import Estimate

__all__ = ["crossing_text", "crossings", "crossings_part", "pass_plane"]


def crossings(results: Results) -> Iterator[tuple[Row, Mapping[str, Any]]]:
    """Yield the methods and temperatures that are compared with the model that they come from."""
    for row in rows_of(results):
        found = row.figures.get("crossing")
        if isinstance(found, Mapping) and found.get("base") in results["methods"]:
            yield row, found


def crossing_text(crossing: Mapping[str, Any]) -> str:
    """Return where the base overtakes, with its interval."""
    ends = ["∞" if end is None else f"{end:g}" for end in crossing["ci"]]
    return f"{'none' if crossing['k'] is None else crossing['k']} [{ends[0]}, {ends[1]}]"


def pass_plane(results: Results) -> Iterator[Plane]:
    """Yield the plot of pass@k against k, each method at the temperature nearest to 1, where there are several k."""
    series = []
    for position, one in enumerate(results["methods"].values()):
        at = reference_temperature(list(one["temperatures"])) if one["temperatures"] else ""
        figures = one["temperatures"].get(at, {}).get("pass_at_k", {}) if at else {}
        points = [
            Point(_known(int(k)), found, f"k = {k}")
            for k, found in figures.items()
            if k.isdecimal() and int(k) > 0 and math.isfinite(found.value)
        ]
        points.sort(key=lambda point: point.x.value)
        series.append(Series(one["label"] or "", position, points))
    if max((len(one.points) for one in series), default=0) > 1:
        yield Plane(
            "Solved by one of k outputs",
            "The share of inputs of which one of k outputs is right, at the temperature nearest to 1. A model that is "
            "ahead at k = 1 and behind at a larger k finds less with many tries than the one it comes from.",
            series,
            Axis("k (logarithmic axis)", log=True),
            Axis("pass@k (%)", 100.0),
        )


def _known(k: int) -> Estimate:
    return Estimate(float(k), 0.0, (float(k), float(k)), 1, np.zeros(0))


def crossings_part(results: Results) -> str:
    """Return the section with the table of crossing points; nothing where there are none."""
    found = list(crossings(results))
    if not found:
        return ""
    heads = ("Method", "T", "Base", "k [95 %]", "Crosses in", "Looked at up to")
    rows = [
        element(
            "tr",
            element("th", name(row.label), scope="row"),
            element("td", text(temperature_text(row.temperature))),
            element("td", name(results["methods"][one["base"]]["label"] or one["base"])),
            element("td", text(crossing_text(one)), data_value="" if one["k"] is None else one["k"]),
            element("td", text(f"{100 * one['crossed']:.0f} %")),
            element("td", text(one["max_k"])),
        )
        for row, one in found
    ]
    table = element(
        "table",
        element("caption", "Crossing points"),
        element("thead", element("tr", *(element("th", text(head), scope="col") for head in heads))),
        element("tbody", *rows),
        class_="figures",
    )
    said = (
        "From which number of outputs k on the base solves more inputs with one of them, having been behind. An "
        "interval from 1 says that the base may be ahead from the start, one to ∞ that it may not overtake up to the k "
        "looked at. How often the curves cross at all is counted in resamples of the inputs."
    )
    return element(
        "section",
        element("h2", "Where the base overtakes", id="crossing"),
        element("p", said, class_="quiet"),
        scrolling("Crossing points", table),
        aria_labelledby="crossing",
    )
