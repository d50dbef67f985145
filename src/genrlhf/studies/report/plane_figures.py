"""Plots as HTML figures: for wide and narrow screens, with a legend, and with their points as a table."""

from __future__ import annotations

from collections.abc import Iterator

from genrlhf.studies.report.cells import Column
from genrlhf.studies.report.figure_tables import figure
from genrlhf.studies.report.markup import element, name, scrolling, text
from genrlhf.studies.report.planes import Plane
from genrlhf.studies.report.svg import key, plane

__all__ = ["plane_figure"]

_SIZES = {"plane wide": (600, 420), "plane narrow": (340, 380)}


def plane_figure(shown: Plane, number: int) -> str:
    """Return a plot with all that belongs to it.

    Args:
        shown: the plot.
        number: that tells it from the others of the page.
    """
    described = (shown.title, f"{shown.description} The table below has its points.")
    pictures = [
        plane(shown.series, shown.x, shown.y, size=size, level=shown.level, described_by=described, classes=classes)
        for classes, size in _SIZES.items()
    ]
    return element(
        "figure",
        element("h3", text(shown.title), id=f"plane-{number}"),
        element("p", text(shown.description), class_="quiet"),
        element("ul", *_legend(shown), class_="legend"),
        *pictures,
        element("ul", *_marks(shown), class_="legend") if any(_marks(shown)) else "",
        element("details", element("summary", "Points of this plot"), _points_table(shown)),
        aria_labelledby=f"plane-{number}",
    )


def _legend(shown: Plane) -> Iterator[str]:
    for one in shown.series:
        if one.points:
            mark = key(one.position, curve=len(one.points) > 1)
            yield element("li", mark, " ", name(one.label), data_series=one.position)


def _marks(shown: Plane) -> Iterator[str]:
    """Yield what marks mean that are not those of methods."""
    drawn = [one for one in shown.series if one.points]
    if any(point.on_front for one in drawn for point in one.points):
        ring = '<svg class="key" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">'
        ring += '<circle class="ring" cx="8" cy="8" r="6.5"/></svg>'
        yield element("li", ring, " On the front: no other point is better in both")
    if any(point.hollow for one in drawn for point in one.points):
        yield element("li", "Hollow: a control that costs no training is better in both")


def _points_table(shown: Plane) -> str:
    heads = [element("th", text(heading), scope="col") for heading in ("Point", shown.x.label, shown.y.label)]
    across, up = (Column((), "", percent=axis.scale == 100, decimals=3) for axis in (shown.x, shown.y))
    rows = [
        element(
            "tr",
            element("th", name(one.label), f" {text(point.name)}", scope="row"),
            figure(across, point.x),
            figure(up, point.y),
        )
        for one in shown.series
        for point in one.points
    ]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="figures")
    return scrolling(f"{shown.title}, points", table)
