"""Results as a table for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from genrlhf.studies.curves import reference_temperature
from genrlhf.studies.report.cells import Column, Row, all_groups, overview, rows_of, temperature_text
from genrlhf.studies.report.shift_part import gap_column, measures_of, methods_with_gaps, slope_of
from genrlhf.studies.report.solutions_part import crossing_text, crossings
from genrlhf.studies.report.tables import metric_label, set_label
from genrlhf.studies.results import Results, quality_of
from genrlhf.tables import aligned, display_width
from genrlhf.types import Estimate

__all__ = ["results_table"]

_SHORT = {"pvr": "PvR", "gap": "gap", "gaps": "gap", "gold": "gold", "reward": "reward"}


def results_table(results: Results) -> str:
    """Return a line for every method and temperature, then what the curves say, the shifts of the sets, and warnings.

    PvR and gaps are in percent, with 95 % intervals in brackets; `*` marks points of the Pareto front.
    """
    rows, columns = rows_of(results), _columns(results)
    front = {
        (name, point["temperature"])
        for name, curve in results["curves"].items()
        for point in curve["points"]
        if point["on_front"]
    }
    plane = results["quality"] is not None and results["diversity"] is not None
    lines = [["", "T", *map(_heading, columns), *(["front"] if plane else [])]]
    for row in rows:
        cells = [row.label, temperature_text(row.temperature), *(_cell(column, row) for column in columns)]
        lines.append([*cells, *(["*" if (row.method, row.temperature) in front else ""] if plane else [])])
    table = aligned(lines)
    parts = ["\n".join([table[0], "-" * max(map(display_width, table)), *table[1:]])]
    if plane and (said := _curves(results)):
        parts.append("\n".join(said))
    if said := [_crossing(results, row, one) for row, one in crossings(results)]:
        parts.append("\n".join(said))
    if said := _shifts(results):
        parts.append("\n".join(said))
    if results["warnings"]:
        parts.append("\n".join(f"! {line}" for line in results["warnings"]))
    return "\n\n".join(parts)


def _columns(results: Results) -> list[Column]:
    """Return quality, gaps and the diversity of the plane, and after them the other figures of its level."""
    found = {column.path: column for group in overview(results) for column in group.columns}
    level = (results["diversity"] or "").partition(".")[0]
    for group in all_groups(results):
        for column in group.columns:
            if column.path[:2] == ("diversity", level) or (column.path[0] in ("gold", "reward")):
                found.setdefault(column.path, column)
    order = ("pvr", "gap", "gaps", "gold", "reward", "pass_at_k", "kl", "forgetting", "diversity")
    return sorted(found.values(), key=lambda column: order.index(column.path[0]) if column.path[0] in order else 6)


def _heading(column: Column) -> str:
    kind, *rest = column.path
    if kind == "diversity":
        return metric_label(rest[1]) + (" across inputs" if rest[0] == "across_input" else "")
    if kind in _SHORT:
        return f"{_SHORT[kind]} {set_label(rest[0] if rest else 'ood')}"
    if kind == "forgetting":
        return {"increase": "forgetting", "forward_kl": "KL from base"}.get(rest[0], column.heading)
    return "KL" if kind == "kl" else column.heading


def _cell(column: Column, row: Row) -> str:
    found = column.of(row.figures)
    return "" if found is None else _shown(column, found)


def _shown(column: Column, found: Estimate) -> str:
    low, high = found.ci
    value = column.shown(found.value)
    if math.isnan(low) or math.isnan(high) or low == high:
        return value
    return f"{value} [{column.shown(low)}, {column.shown(high)}]"


def _curves(results: Results) -> list[str]:
    """Return a line for every method: its diversity at the reference's quality, and what dominates it."""
    reference = results["reference"]
    level, _, metric = str(results["diversity"]).partition(".")
    column = Column(("diversity", level, metric), "", decimals=3)
    lines = []
    if reference is not None:
        at = reference_temperature(list(results["methods"][reference]["temperatures"]))
        figures = results["methods"][reference]["temperatures"][at]
        quality = quality_of(figures, results["quality"], results["sets"][0])
        value = "" if quality is None else _level(str(results["quality"]), quality)
        shown = _heading(column)
        lines.append(f"{shown} at the quality of {_label(results, reference)}{value}:")
        for name, curve in results["curves"].items():
            found, why = curve["at_reference_quality"], curve.get("why_not")
            said = "none" if found is None else _shown(column, found)
            lines.append(f"  {_label(results, name)}: {said}{f'; {why}' if why else ''}")
    for name, curve in results["curves"].items():
        by: Sequence[str] = curve["dominated_by"]
        if by:
            lines.append(f"{_label(results, name)} is dominated by {', '.join(_label(results, one) for one in by)}")
    return lines


def _crossing(results: Results, row: Row, crossing: Mapping[str, Any]) -> str:
    """Return from how many outputs on the base solves more than a method."""
    what = f"{row.label} (T {temperature_text(row.temperature)})"
    base = f"pass@k: {_label(results, crossing['base'])}"
    if crossing["k"] is None:
        ahead = ", being ahead from the start" if crossing["ci"][1] == 1 else ""
        return f"{base} does not overtake {what} up to k = {crossing['max_k']}{ahead}: {crossing_text(crossing)}"
    return f"{base} overtakes {what} at k = {crossing_text(crossing)}"


def _shifts(results: Results) -> list[str]:
    """Return a table of the sets: how far each is from the first, and the gap of every method."""
    shifts, measures = results.get("shifts", {}), measures_of(results)
    if not shifts:
        return []
    methods = list(methods_with_gaps(results))
    gap, shift = gap_column(results), Column((), "", decimals=3)
    lines = [[f"shift from {set_label(results['sets'][0])}", *measures]]
    lines[0] += [f"gap, {_label(results, method)}" for method, *_ in methods]
    for name, one in shifts.items():
        cells = [_shown(shift, one[measure]) if measure in one else "" for measure in measures]
        cells += [_shown(gap, gaps[name]) if name in gaps else "" for *_, gaps in methods]
        lines.append([set_label(name), *cells])
    for measure in measures:
        slopes = [slope_of(results, method, temperature, measure) for method, temperature, *_ in methods]
        if any(slopes):
            cells = ["" if slope is None else _shown(gap, slope) for slope in slopes]
            lines.append([f"gap for 1 of {measure}", *[""] * len(measures), *cells])
    return aligned(lines)


def _level(name: str, quality: Estimate) -> str:
    percent = name == "pvr"
    column = Column((name, ""), "", percent=percent)
    return f" ({_SHORT.get(name, name)} {column.shown(quality.value)})"


def _label(results: Results, name: str) -> str:
    return results["methods"][name]["label"] or name
