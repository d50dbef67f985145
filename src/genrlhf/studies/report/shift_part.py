"""The gap of every method on every set beside how far the set is from the first one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from genrlhf.metrics.shift import MEASURES
from genrlhf.studies.curves import reference_temperature
from genrlhf.studies.report.cells import Column, temperature_text
from genrlhf.studies.report.figure_tables import figure
from genrlhf.studies.report.markup import element, name, scrolling, text
from genrlhf.studies.report.planes import Plane
from genrlhf.studies.report.svg import Axis, Point, Series
from genrlhf.studies.report.tables import set_label
from genrlhf.studies.results import Results
from genrlhf.studies.shifts import gap_of
from genrlhf.types import Estimate

__all__ = ["gap_column", "measures_of", "methods_with_gaps", "shift_planes", "shifts_part", "slope_of"]


_AXES = {
    "words": "shift of the words (adjusted divergence)",
    "length": "difference of length (sd of log words)",
    "embedding": "energy distance of the embeddings",
}


def measures_of(results: Results) -> list[str]:
    """Return by what shifts are measured."""
    found = dict.fromkeys(measure for each in results.get("shifts", {}).values() for measure in each)
    return [*(measure for measure in MEASURES if measure in found), *(each for each in found if each not in MEASURES)]


def methods_with_gaps(results: Results) -> Iterator[tuple[str, str, int, dict[str, Estimate]]]:
    """Yield name, temperature nearest to 1, position, and gap on every set, of the methods that have a gap."""
    first, *others = results["sets"]
    for position, (method, one) in enumerate(results["methods"].items()):
        if not one["temperatures"]:
            continue
        temperature = reference_temperature(list(one["temperatures"]))
        figures = one["temperatures"][temperature]
        gaps = {each: gap_of(figures, results["quality"], first, each) for each in others}
        known = {each: gap for each, gap in gaps.items() if gap is not None and math.isfinite(gap.value)}
        if known:
            yield method, temperature, position, known


def gap_column(results: Results) -> Column:
    """Return how gaps are shown."""
    return Column(("gaps", ""), "", percent=results["quality"] == "pvr", decimals=3)


def slope_of(results: Results, method: str, temperature: str, measure: str) -> Estimate | None:
    """Return how much the gap of a method grows with a measure of the shift."""
    found = results["methods"][method]["temperatures"][temperature].get("gap_per_shift", {}).get(measure)
    return found if found is not None and math.isfinite(found.value) else None


def shift_planes(results: Results) -> Iterator[Plane]:
    """Yield a plot of gaps against each measure of the shift, where there are several sets beside the first."""
    shifts = results.get("shifts", {})
    methods = list(methods_with_gaps(results))
    for measure in measures_of(results):
        known = {each: _size(one[measure]) for each, one in shifts.items() if measure in one}
        if len(known) < 2:
            continue
        series = []
        for method, _, position, gaps in methods:
            points = [Point(known[each], gap, set_label(each)) for each, gap in gaps.items() if each in known]
            points.sort(key=lambda point: point.x.value)
            series.append(Series(results["methods"][method]["label"] or method, position, points))
        scale = 100.0 if results["quality"] == "pvr" else 1.0
        yield Plane(
            f"Gap against shift, {measure}",
            "How much worse a method is on a set than in distribution, over how far the set's prompts are from it.",
            series,
            Axis(_AXES.get(measure, measure)),
            Axis("gap (%)" if scale == 100 else "gap", scale),
        )


def _size(shift: Estimate) -> Estimate:
    """Return how large a shift is, whatever its direction."""
    if shift.value >= 0:
        return shift
    low, high = shift.ci
    return Estimate(-shift.value, shift.stderr, (-high, -low), shift.n, shift.values)


def shifts_part(results: Results) -> str:
    """Return the section with the table of sets: their shifts, and the gap of every method; nothing for one set."""
    shifts, measures = results.get("shifts", {}), measures_of(results)
    if not shifts:
        return ""
    methods = list(methods_with_gaps(results))
    heads = ["Set", *measures]
    heads += [
        f"gap, {results['methods'][method]['label'] or method} (T {temperature_text(temperature)})"
        for method, temperature, _, _ in methods
    ]
    shown = {measure: Column((), "", decimals=3) for measure in measures}
    rows = [
        element(
            "tr",
            element("th", name(set_label(each)), scope="row"),
            *(figure(shown[measure], one.get(measure)) for measure in measures),
            *(figure(gap_column(results), gaps.get(each)) for _, _, _, gaps in methods),
        )
        for each, one in shifts.items()
    ]
    for measure in measures:
        slopes = [slope_of(results, method, temperature, measure) for method, temperature, _, _ in methods]
        if any(slopes):
            head = element("th", text(f"gap for 1 of {measure}"), scope="row", colspan=1 + len(measures))
            rows.append(element("tr", head, *(figure(gap_column(results), slope) for slope in slopes)))
    table = element(
        "table",
        element("caption", "Shifts and gaps"),
        element("thead", element("tr", *(element("th", text(head), scope="col") for head in heads))),
        element("tbody", *rows),
        class_="figures",
    )
    first = name(set_label(results["sets"][0]))
    said = "; ".join(f"{text(each)}: {text(MEASURES[each])}" for each in measures if each in MEASURES)
    told = f"How far the prompts of every set are from those of {first}, and the gap of every method. {said}."
    return element(
        "section",
        element("h2", "Shifts", id="shifts"),
        element("p", told, class_="quiet"),
        scrolling("Shifts and gaps", table),
        aria_labelledby="shifts",
    )
