"""How methods are told apart in plots: colour, shape and dashes, so that no one of them is needed."""

from __future__ import annotations

import math

__all__ = ["COLOURS", "dashes_of", "marker", "style_of"]

COLOURS = 8
"""How many colours there are; the page's style has them as `--c0` to `--c7`, for light and dark."""

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2 2 2 2 2", "12 4", "1 4", "8 2 1 2")
_SHAPES = 8


def style_of(position: int) -> tuple[int, int]:
    """Return the numbers of colour and shape of a method: 56 of them differ, the first eight in both."""
    turn, colour = divmod(position, COLOURS)
    return colour, (colour + turn) % _SHAPES


def dashes_of(position: int) -> str:
    """Return the dashes of a method's curve, as SVG has them; the first is drawn through."""
    return _DASHES[style_of(position)[1]]


def marker(shape: int, x: float, y: float, size: float) -> str:
    """Return the path of a shape around a point."""
    corners = [
        _polygon(24, 1.0, 0.0),  # a circle
        _polygon(4, 1.2, 45.0),  # a square
        _polygon(3, 1.35, 90.0),
        _polygon(4, 1.35, 0.0),
        _polygon(3, 1.35, -90.0),
        _star(5, 1.5, 0.6),
        _cross(0.0),
        _cross(45.0),
    ][shape]
    points = " ".join(f"{x + size * across:.1f},{y - size * up:.1f}" for across, up in corners)
    return f"M{points}Z"


def _polygon(corners: int, radius: float, start: float) -> list[tuple[float, float]]:
    angles = [math.radians(start + 360 * n / corners) for n in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _star(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    found = []
    for n in range(2 * points):
        angle, radius = math.radians(90 + 180 * n / points), inner if n % 2 else outer
        found.append((radius * math.cos(angle), radius * math.sin(angle)))
    return found


def _cross(turned: float) -> list[tuple[float, float]]:
    arm, half = 1.35, 0.42
    corners = [(half, half), (half, arm), (-half, arm), (-half, half), (-arm, half), (-arm, -half)]
    corners += [(-half, -half), (-half, -arm), (half, -arm), (half, -half), (arm, -half), (arm, half)]
    cos, sin = math.cos(math.radians(turned)), math.sin(math.radians(turned))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]
