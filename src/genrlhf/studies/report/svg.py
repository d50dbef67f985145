"""Points with intervals on a plane, and curves through them, as SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from genrlhf.studies.report.cells import number
from genrlhf.studies.report.markup import text
from genrlhf.studies.report.shapes import dashes_of, marker, style_of
from genrlhf.types import Estimate

__all__ = ["Axis", "Level", "Point", "Series", "key", "plane"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 18.0, 14.0, 46.0
_SIZE = 5.0


@dataclass(frozen=True)
class Axis:
    """One direction of a plane.

    Attributes:
        label: what it shows, with its unit.
        scale: values are shown this many times as large: 100 for percent.
        root: places go by the square root of values, with their sign.
        log: places go by the logarithm of values, which are above 0, with ticks at powers of 2.
    """

    label: str
    scale: float = 1.0
    root: bool = False
    log: bool = False


@dataclass(frozen=True)
class Point:
    """A place on a plane.

    Attributes:
        x: the figure across.
        y: the figure up.
        name: of the point within its series, such as a temperature; shown at both ends of a curve.
        on_front: it has a ring around it.
        hollow: its mark is.
    """

    x: Estimate
    y: Estimate
    name: str = ""
    on_front: bool = False
    hollow: bool = False


@dataclass(frozen=True)
class Series:
    """The points of a method, in the order of the curve through them.

    Attributes:
        label: of the method.
        position: that its colour, shape and dashes go by.
        points: where it is.
    """

    label: str
    position: int
    points: Sequence[Point]


@dataclass(frozen=True)
class Level:
    """A height that points are compared at.

    Attributes:
        y: the height.
        label: what it is.
    """

    y: float
    label: str


class _Ruler:
    """From values to places along an axis of so many pixels."""

    def __init__(self, axis: Axis, values: Iterable[float], start: float, end: float) -> None:
        self.axis = axis
        found = [value * axis.scale for value in values if math.isfinite(value)] or [0.0]
        self.start, self.end = start, end
        low, high = min(found), max(found)
        if axis.log:
            low, high = math.log2(low), math.log2(high)
            self.ticks = [(2.0**n, number(2.0**n, 0)) for n in range(math.ceil(low), math.floor(high) + 1)]
            margin = 0.06 * (high - low) or 0.5
            self.low, self.high = low - margin, high + margin
            return
        margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
        self.ticks = _ticks(low - margin, high + margin)
        self.low, self.high = (self._bent(end) for end in (min(low - margin, low), high + margin))

    def _bent(self, value: float) -> float:
        if self.axis.log:
            return math.log2(value)
        return math.copysign(math.sqrt(abs(value)), value) if self.axis.root else value

    def at(self, value: float) -> float:
        """Return the place of a value."""
        return self.of_shown(value * self.axis.scale)

    def of_shown(self, value: float) -> float:
        share = (self._bent(value) - self.low) / (self.high - self.low)
        # An interval without an end goes on to the edge.
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)

    def marks(self, apart: float) -> list[tuple[float, str]]:
        """Return places and texts of the ticks, so many pixels apart at least."""
        found: list[tuple[float, str]] = []
        for value, shown in self.ticks:
            place = self.of_shown(value)
            if self.low <= self._bent(value) <= self.high and all(abs(place - other) >= apart for other, _ in found):
                found.append((place, shown))
        return found


def plane(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    size: tuple[int, int],
    level: Level | None = None,
    described_by: tuple[str, str],
    classes: str = "",
) -> str:
    """Return an SVG element; colours come from classes that the page's style knows, and nothing from elsewhere.

    Args:
        series: what is on the plane.
        x: across.
        y: up.
        size: width and height in pixels; the picture shrinks with its surroundings.
        level: a height to be drawn through.
        described_by: title and description, for those who do not see it.
        classes: of the element.
    """
    width, height = size
    points = [point for one in series for point in one.points]
    levels = [] if level is None else [level.y]
    across = _Ruler(x, _reach(point.x for point in points), _LEFT, width - _RIGHT)
    up = _Ruler(y, [*_reach(point.y for point in points), *levels], height - _BOTTOM, _TOP)
    name = text(". ".join(described_by))
    parts = [
        f'<svg class="{classes}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{name}">',
        *_grid(across, up, width, height),
        *_front(points, across, up),
        *([] if level is None else _level(level, up, width)),
        *(part for one in series for part in _drawn(one, across, up)),
        *_names(series, across, up, width),
        "</svg>",
    ]
    return "\n".join(parts)


def key(position: int, *, hollow: bool = False, curve: bool = True) -> str:
    """Return the mark of a method for a legend or a table, as an SVG element that is not read out."""
    colour, shape = style_of(position)
    width = 30 if curve else 16
    line = f'<path class="curve" d="M1,8H29"{_dashed(position)}/>' if curve else ""
    return (
        f'<svg class="key c{colour}" viewBox="0 0 {width} 16" width="{width}" height="16" aria-hidden="true">{line}'
        f'<path class="{_mark(hollow)}" d="{marker(shape, width / 2, 8, _SIZE)}"/></svg>'
    )


def _reach(estimates: Iterable[Estimate]) -> list[float]:
    """Return values and ends of intervals."""
    return [end for one in estimates for end in (one.value, *one.ci)]


def _grid(across: _Ruler, up: _Ruler, width: int, height: int) -> Iterator[str]:
    floor, ceiling = height - _BOTTOM, _TOP
    for place, shown in across.marks(44):
        yield f'<path class="grid" d="M{place:.1f},{floor:.1f}V{ceiling:.1f}"/>'
        yield f'<text class="tick" x="{place:.1f}" y="{floor + 17:.1f}" text-anchor="middle">{shown}</text>'
    for place, shown in up.marks(28):
        yield f'<path class="grid" d="M{_LEFT:.1f},{place:.1f}H{width - _RIGHT:.1f}"/>'
        yield f'<text class="tick" x="{_LEFT - 8:.1f}" y="{place + 4:.1f}" text-anchor="end">{shown}</text>'
    yield f'<path class="axis" d="M{_LEFT:.1f},{ceiling:.1f}V{floor:.1f}H{width - _RIGHT:.1f}"/>'
    below = f'x="{(_LEFT + width - _RIGHT) / 2:.1f}" y="{height - 8:.1f}"'
    yield f'<text class="label" {below} text-anchor="middle">{text(across.axis.label)}</text>'
    beside = f'transform="rotate(-90)" x="{-(floor + ceiling) / 2:.1f}" y="14"'
    yield f'<text class="label" {beside} text-anchor="middle">{text(up.axis.label)}</text>'


def _front(points: Sequence[Point], across: _Ruler, up: _Ruler) -> Iterator[str]:
    """Draw the edge of what is reached: nothing lies above it and to its right."""
    front = sorted((point.x.value, point.y.value) for point in points if point.on_front)
    if not front:
        return
    path = f"M{across.start:.1f},{up.at(front[0][1]):.1f}"
    for n, (x, _) in enumerate(front):
        path += f"H{across.at(x):.1f}V{up.at(front[n + 1][1]) if n + 1 < len(front) else up.start:.1f}"
    yield f'<path class="front" d="{path}"/>'


def _level(level: Level, up: _Ruler, width: int) -> Iterator[str]:
    place = up.at(level.y)
    yield f'<path class="level" d="M{_LEFT:.1f},{place:.1f}H{width - _RIGHT:.1f}"/>'
    yield (f'<text class="level-label" x="{_LEFT + 5:.1f}" y="{place - 5:.1f}">{text(level.label)}</text>')


def _placed(series: Series, across: _Ruler, up: _Ruler) -> list[tuple[Point, float, float]]:
    """Return the points that have a place, with it."""
    known = [point for point in series.points if math.isfinite(point.x.value) and math.isfinite(point.y.value)]
    return [(point, across.at(point.x.value), up.at(point.y.value)) for point in known]


def _drawn(series: Series, across: _Ruler, up: _Ruler) -> Iterator[str]:
    placed = _placed(series, across, up)
    colour, shape = style_of(series.position)
    yield f'<g class="c{colour}" data-series="{series.position}">'
    for point, x, y in placed:
        yield from _intervals(point, x, y, across, up)
    if len(placed) > 1:
        line = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in placed)
        yield f'<path class="curve" d="M{line}"{_dashed(series.position)}/>'
    for point, x, y in placed:
        if point.on_front:
            yield f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="{2 * _SIZE}"/>'
        words = f"{series.label}, {point.name}" if point.name else series.label
        told = f"{words}: {_told(point.y, up.axis)} up, {_told(point.x, across.axis)} across"
        path = marker(shape, x, y, _SIZE)
        yield f'<path class="{_mark(point.hollow)}" d="{path}"><title>{text(told)}</title></path>'
    yield "</g>"


def _names(series: Sequence[Series], across: _Ruler, up: _Ruler, width: int) -> Iterator[str]:
    """Name both ends of every curve, but where there is another name already."""
    taken: list[tuple[float, float]] = []
    for one in series:
        placed = _placed(one, across, up)
        for point, x, y in (placed[0], placed[-1]) if len(placed) > 1 else ():
            left = x > width - 70
            place = (x + (-9 if left else 9), y + (15 if left else -7))
            if any(abs(place[0] - a) < 36 and abs(place[1] - b) < 11 for a, b in taken):
                continue
            taken.append(place)
            yield (
                f'<text class="point c{style_of(one.position)[0]}" data-series="{one.position}" x="{place[0]:.1f}" '
                f'y="{place[1]:.1f}" text-anchor="{"end" if left else "start"}">{text(point.name)}</text>'
            )


def _intervals(point: Point, x: float, y: float, across: _Ruler, up: _Ruler) -> Iterator[str]:
    for ruler, (low, high), path in (
        (across, point.x.ci, lambda a, b: f"M{a:.1f},{y:.1f}H{b:.1f}"),
        (up, point.y.ci, lambda a, b: f"M{x:.1f},{a:.1f}V{b:.1f}"),
    ):
        draw: Callable[[float, float], str] = path
        if not (math.isnan(low) or math.isnan(high)) and low != high:
            yield f'<path class="interval" d="{draw(ruler.at(low), ruler.at(high))}"/>'


def _told(estimate: Estimate, axis: Axis) -> str:
    value, low, high = (
        number(end * axis.scale, 1 if axis.scale == 100 else 3) for end in (estimate.value, *estimate.ci)
    )
    return f"{value} [{low}, {high}]"


def _mark(hollow: bool) -> str:
    return "mark hollow" if hollow else "mark"


def _dashed(position: int) -> str:
    dashes = dashes_of(position)
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return about six round numbers between two, each with its text."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return []
    rough = span / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * many for many in (1, 2, 2.5, 5, 10) if unit * many >= rough * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9) + (step / unit == 2.5))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(n * step, number(n * step + 0.0, decimals)) for n in range(first, last + 1)]
