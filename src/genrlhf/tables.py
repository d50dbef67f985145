"""Tables for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from genrlhf.errors import printable

__all__ = ["aligned", "display_width"]


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells, a column as wide on a terminal as its widest cell, without what a terminal acts on."""
    rows = [[printable(cell) for cell in line] for line in table]
    widths = [max(display_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell + " " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for Chinese signs, none for marks that combine."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text
    )
