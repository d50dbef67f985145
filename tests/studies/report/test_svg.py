"""Planes as SVG, read back as XML."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from genrlhf.studies.report.shapes import style_of
from genrlhf.studies.report.svg import Axis, Level, Point, Series, key, plane
from genrlhf.types import Estimate
from tests.studies.report.test_tables import estimate

X, Y = Axis("diversity"), Axis("quality", scale=100)


def drawn(*series: Series, **given: Any) -> ET.Element:
    settings = {"size": (600, 420), "described_by": ("A plot", "of points"), **given}
    return ET.fromstring(plane(series, settings.pop("x", X), settings.pop("y", Y), **settings))


def having(tree: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in tree.iter() if name in one.get("class", "").split()]


def ticks(tree: ET.Element, anchor: str) -> dict[float, float]:
    """Return the values on an axis with their places."""
    side = "x" if anchor == "middle" else "y"
    shown = [one for one in having(tree, "tick") if one.get("text-anchor") == anchor]
    return {
        float((one.text or "").replace("\N{MINUS SIGN}", "-").replace(",", "")): float(one.get(side, ""))
        for one in shown
    }


def center(mark: ET.Element) -> tuple[float, float]:
    """Return the middle of the box around a mark."""
    numbers = np.array(re.findall(r"-?[\d.]+", mark.get("d", "")), dtype=float).reshape(-1, 2)
    middle = (numbers.min(0) + numbers.max(0)) / 2
    return float(middle[0]), float(middle[1])


POINTS = [
    Point(estimate(0.2, 0.05), estimate(0.6, 0.1), "T 0.5"),
    Point(estimate(0.6, 0.05), estimate(0.3, 0.1), "T 1"),
]


def test_points_lie_where_the_ticks_say() -> None:
    tree = drawn(Series("one", 0, POINTS))
    across, up = ticks(tree, "middle"), ticks(tree, "end")
    # The ticks up are of percent, text is four pixels below its line.
    assert {0.2, 0.4, 0.6} <= set(across) and {20, 40, 60} <= set(up)
    marks = [center(mark) for mark in having(tree, "mark")]
    expected = [(across[0.2], up[60] - 4), (across[0.6], np.interp(30, [20, 40], [up[20] - 4, up[40] - 4]))]
    assert marks == [pytest.approx(place, abs=0.3) for place in expected]
    [curve] = having(tree, "curve")
    numbers = np.array(re.findall(r"[\d.]+", curve.get("d", "")), dtype=float).reshape(-1, 2)
    assert numbers == pytest.approx(np.array(expected), abs=0.3)
    assert [one.text for one in having(tree, "point")] == ["T 0.5", "T 1"]


def test_intervals_reach_to_their_ends() -> None:
    tree = drawn(Series("one", 0, POINTS[:1]))
    across, up = ticks(tree, "middle"), ticks(tree, "end")
    flat, tall = (re.findall(r"[\d.]+", one.get("d", "")) for one in having(tree, "interval"))
    place = np.polynomial.Polynomial.fit(list(across), list(across.values()), 1)
    assert [float(flat[0]), float(flat[2])] == pytest.approx([place(0.15), place(0.25)], abs=0.3)
    place = np.polynomial.Polynomial.fit(list(up), [y - 4 for y in up.values()], 1)
    assert [float(tall[1]), float(tall[2])] == pytest.approx([place(50), place(70)], abs=0.3)


def test_a_root_axis_halves_a_fourth() -> None:
    points = [Point(estimate(kl, 0.0), estimate(0.5, 0.1)) for kl in (0.0, 1.0, 4.0)]
    tree = drawn(Series("one", 0, points), x=Axis("KL", root=True))
    zero, one, four = (center(mark)[0] for mark in having(tree, "mark"))
    assert one - zero == pytest.approx((four - zero) / 2, abs=0.3)


def test_the_front_is_a_staircase_above_which_nothing_lies() -> None:
    front = [
        Point(estimate(x, 0.01), estimate(y, 0.01), on_front=True) for x, y in ((0.2, 0.8), (0.4, 0.6), (0.7, 0.2))
    ]
    tree = drawn(Series("one", 0, [front[1]]), Series("two", 1, [front[2], front[0]]))
    assert len(having(tree, "ring")) == 3
    [path] = having(tree, "front")
    steps = [(kind, float(to)) for kind, to in re.findall(r"([HV])([\d.]+)", path.get("d", ""))]
    marks = sorted(center(mark) for mark in having(tree, "mark"))
    assert [to for kind, to in steps if kind == "H"] == pytest.approx([x for x, _ in marks], abs=1)
    assert [to for kind, to in steps if kind == "V"][:2] == pytest.approx([y for _, y in marks[1:]], abs=1)


def test_a_level_lies_at_its_height() -> None:
    tree = drawn(Series("one", 0, POINTS), level=Level(0.6, "quality of <b>"))
    [line], [words] = having(tree, "level"), having(tree, "level-label")
    assert float(re.findall(r"[\d.]+", line.get("d", ""))[1]) == pytest.approx(ticks(tree, "end")[60] - 4, abs=0.1)
    assert words.text == "quality of <b>"


@pytest.mark.parametrize(
    "points",
    [
        [],
        [Point(Estimate(0.5, math.nan, (math.nan, math.nan), 1, np.ones(1)), estimate(0.5, 0))],
        [Point(Estimate(math.nan, math.nan, (math.nan, math.nan), 0, np.zeros(0)), estimate(0.5, 0.1))],
        [Point(Estimate(0.5, 1.0, (-math.inf, math.inf), 3, np.zeros(0)), estimate(-1e300, 1e299))],
        [Point(estimate(0.0, 0.0), estimate(0.0, 0.0)), Point(estimate(1e-300, 0.0), estimate(1e-9, 0.0))],
    ],
)
def test_any_figures_can_be_drawn(points: list[Point]) -> None:
    for axis in (Axis("x"), Axis("x", root=True)):
        tree = drawn(Series("one", 0, points), x=axis)
        numbers = [float(n) for one in tree.iter() for n in re.findall(r"-?[\d.]+", one.get("d", ""))]
        assert all(-30 <= n <= 640 for n in numbers)
        assert "nan" not in ET.tostring(tree, encoding="unicode").replace("distinct", "")


def test_names_are_text() -> None:
    evil = '<script>alert(1)</script>"&'
    tree = drawn(Series(evil, 0, [Point(estimate(0, 1), estimate(0, 1), evil), *POINTS]), described_by=(evil, evil))
    assert {one.tag for one in tree.iter()} == {"svg", "g", "path", "text", "title"}
    assert tree.get("aria-label") == f"{evil}. {evil}"
    assert having(tree, "mark")[0].find("title") is not None
    # What the page's policy would stop, or what would need a network.
    source = ET.tostring(tree, encoding="unicode")
    assert not re.findall(r"style=|<style|href|url\(|font-family", source)


def test_methods_differ_in_colour_shape_and_dashes() -> None:
    assert len({style_of(n)[0] for n in range(8)}) == len({style_of(n)[1] for n in range(8)}) == 8
    assert len({style_of(n) for n in range(56)}) == 56
    assert len({key(n).split("class", 2)[2] for n in range(8)}) == 8
    assert key(0) != key(0, hollow=True) and 'class="curve"' not in key(0, curve=False)
