"""Text of models, files and people in Markdown, where it stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["escaped", "table"]

_ACTS = "\\`*_{}[]()<>#+-.!|~&$:@"
"""What Markdown, the HTML in it, formulas, and links and mentions that sites make of plain text are written with."""


def escaped(value: Any) -> str:
    r"""Return a value as one line of Markdown that shows it as it is.

    Example:
        >>> print(escaped("a|b <i>"))
        a\|b \<i\>
    """
    text = " ".join(str(value).split())
    if re.fullmatch(r"[0-9][0-9A-Za-z.+-]*", text, re.ASCII):
        return text  # a number, or a version
    return "".join("\\" + sign if sign in _ACTS else sign for sign in text).encode("utf-8", "replace").decode()


def table(names: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a table; numbers that are no whole ones have four significant digits."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else escaped(cell) for cell in row] for row in rows]
    lines = [[escaped(name) for name in names], ["---"] * len(names), *cells]
    return [f"| {' | '.join(line)} |" for line in lines]
