"""Which outputs of a file are right, in whichever form it says so."""

from __future__ import annotations

import math
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.json_text import parse_json

__all__ = ["listed", "verdicts_of"]

_SAID = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False, "c": True, "i": False}
"""Cells of tables; C and I are what Inspect writes for correct and incorrect."""


def verdicts_of(value: Any, outputs: int, where: str, column: str) -> list[bool]:
    """Return whether each output of a record is right.

    Args:
        value: of the column: a boolean, a number 0 or 1, a word for either, or a list of these, as JSON in a cell.
        outputs: how many the record has.
        where: it stands, for messages.
        column: its name, for messages.

    Raises:
        DataError: it is none of these, or there is not one an output.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parse_json(value.encode("utf-8", "surrogatepass"), f"{where}, {column!r},")
    given = value if isinstance(value, list) else [value]
    if len(given) != outputs:
        raise DataError(
            f"{where} has {outputs} output(s) and {len(given)} verdict(s) in {column!r}; give one an output."
        )
    return [_verdict(each, where, column) for each in given]


def listed(cell: Any) -> Any:
    """Return the list that the cell of a table holds as JSON, or else the cell."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            return parse_json(cell.encode("utf-8", "surrogatepass"), "")
        except DataError:
            return cell
    return cell


def _verdict(value: Any, where: str, column: str) -> bool:
    found = _SAID.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None and isinstance(value, (bool, int, float)) and not math.isnan(value) and value in (0, 1):
        found = bool(value)
    if found is None:
        raise DataError(
            f"{where} has {excerpt(value)} for a verdict in {column!r}; give true or false for every output, or drop "
            "the row."
        )
    return found
