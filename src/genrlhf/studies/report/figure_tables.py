"""Figures as HTML tables, whose columns the page's script lets sort."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from genrlhf.studies.report.cells import Column, Group, Row, number, rows_of, temperature_text
from genrlhf.studies.report.markup import element, name, scrolling, text
from genrlhf.studies.report.svg import key
from genrlhf.studies.results import Curve, Results
from genrlhf.types import Estimate

__all__ = ["equal_quality_table", "figure", "figure_table"]


def figure_table(results: Results, groups: Sequence[Group], caption: str, *, badges: bool = False) -> str:
    """Return a table with a body for every method and temperature: its figures, and below them those of its seeds.

    Args:
        results: what is shown.
        groups: the columns.
        caption: of the table.
        badges: say beside a method what it is: a control, dominated, on the front.
    """
    rows = rows_of(results)
    columns = [column for group in groups for column in group.columns]
    spans = [2, *(len(group.columns) for group in groups)]
    over = [element("td", colspan=2)]
    over += [element("th", text(one.heading), scope="colgroup", colspan=len(one.columns)) for one in groups]
    heads = [_head("Method", "order"), _head("T", "number")]
    heads += [_head(column.heading, "number", _counts(column, rows)) for column in columns]
    return scrolling(
        caption,
        element(
            "table",
            element("caption", text(caption)),
            *(element("colgroup", span=span) for span in spans),
            element("thead", element("tr", *over), element("tr", *heads)),
            *(_body(results, row, columns, badges=badges) for row in rows),
            class_="figures",
        ),
    )


def figure(column: Column, found: Estimate | None, said: str = "") -> str:
    """Return a figure with its interval as a cell, and what is said of it as HTML."""
    if found is None:
        return element("td", "–", class_="nothing", data_value="")
    value = element("span", column.shown(found.value), class_="value")
    return element("td", value, _interval(column, found), said, data_value=repr(float(found.value)))


def _interval(column: Column, found: Estimate) -> str:
    low, high = found.ci
    if math.isnan(low) or math.isnan(high) or low == high:
        return ""
    return " " + element("span", f"[{column.shown(low)}, {column.shown(high)}]", class_="ci")


def _head(heading: str, sort: str, below: str = "") -> str:
    return element("th", element("span", text(heading), class_="what"), below, scope="col", data_sort=sort)


def _counts(column: Column, rows: Sequence[Row]) -> str:
    """Return how many inputs a column's figures are of."""
    counts = sorted({found.n for row in rows if (found := column.of(row.figures)) is not None})
    if not counts:
        return ""
    shown = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return " " + element("span", f"n = {shown}", class_="n")


def _body(results: Results, row: Row, columns: Sequence[Column], *, badges: bool) -> str:
    head = _method(row.label, row.position, bool(row.dominated_by), *(_badges(results, row) if badges else ()))
    temperature = element("td", text(temperature_text(row.temperature)), data_value=_place(row.temperature))
    lines = [element("tr", head, temperature, *(figure(column, column.of(row.figures)) for column in columns))]
    for seed, figures in row.seeds.items():
        cells = [figure(column, column.of(figures)) for column in columns]
        head = element("th", "seed ", name(seed), scope="row")
        lines.append(element("tr", head, element("td"), *cells, class_="seed"))
    return element("tbody", *lines)


def _method(label: str, position: int, dominated: bool, *badges: str) -> str:
    """Return the head of a method's row: its mark in the plots, its name, and what is said of it."""
    mark = key(position, hollow=dominated, curve=False)
    who = element("span", name(label), *badges, class_="who")
    return element("th", element("span", mark, who, class_="named"), scope="row", data_value=position)


def _place(temperature: str) -> str:
    """Return what a temperature sorts by: nothing where it is no number."""
    try:
        return temperature if math.isfinite(float(temperature)) else ""
    except ValueError:
        return ""


def _badges(results: Results, row: Row) -> Sequence[str]:
    said = {
        "control": results["methods"][row.method]["free"],
        "front": row.on_front,
        "dominated": bool(row.dominated_by),
    }
    return [" " + element("span", one, class_=f"badge {one}") for one, holds in said.items() if holds]


def equal_quality_table(results: Results, diversity: str, level: float | None) -> str:
    """Return the table of every curve: its diversity at the reference's quality, its front, what dominates it.

    Args:
        results: with curves.
        diversity: what the diversity is called.
        level: the quality of the reference, where it is known.
    """
    reference = results["reference"]
    heading = f"{diversity} at equal quality"
    if reference is not None:
        label = results["methods"][reference]["label"] or reference
        heading = f"{diversity} at the quality of {label}{_level(results, level)}"
    bodies = [
        _equal_row(results, position, method, curve)
        for position, method in enumerate(results["methods"])
        if (curve := results["curves"].get(method)) is not None
    ]
    heads = [
        _head("Method", "order"),
        _head(heading, "number"),
        _head("On the front at T", "number"),
        _head("Dominated everywhere by", "number"),
    ]
    caption = "Methods at equal quality"
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        *bodies,
        class_="figures",
    )
    return scrolling(caption, table) if bodies else ""


def _level(results: Results, level: float | None) -> str:
    if level is None or not math.isfinite(level):
        return ""
    return f" ({number(100 * level, 1)} %)" if results["quality"] == "pvr" else f" ({number(level, 2)})"


def _equal_row(results: Results, position: int, method: str, curve: Curve) -> str:
    labels: Mapping[str, Any] = results["methods"]
    found = curve["at_reference_quality"]
    why_not = curve.get("why_not")
    said = element("span", text(why_not), class_="why") if why_not else ""
    if found is not None and math.isfinite(found.value):
        cell = figure(Column((), "", decimals=3), found, said)
    else:
        cell = element("td", said or "–", data_value="")
    front = [temperature_text(point["temperature"]) for point in curve["points"] if point["on_front"]]
    over = [name(labels[one]["label"] or one) for one in curve["dominated_by"]]
    return element(
        "tbody",
        element(
            "tr",
            _method(labels[method]["label"] or method, position, bool(over)),
            cell,
            element("td", text(", ".join(front)) or "–", class_="words", data_value=len(front)),
            element("td", ", ".join(over) or "–", class_="words", data_value=len(over)),
        ),
    )
