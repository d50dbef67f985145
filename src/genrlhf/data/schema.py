"""What rows must look like, checked before anything is trained on them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from genrlhf.data.chat import is_message
from genrlhf.errors import DataError, excerpt

__all__ = ["check_columns", "check_rows", "check_text"]


def check_rows(dataset: Any, columns: Sequence[str], *, source: str = "dataset") -> None:
    """Raise unless `dataset` has rows, and in all of them every one of `columns` is text that is not blank.

    Text is a string, or a conversation: a list of messages with `role` and `content`.

    Args:
        dataset: a `datasets.Dataset`, or a sequence of dictionaries.
        columns: names of columns.
        source: what the dataset is called in messages.

    Raises:
        DataError: naming source, row (counted from 0), column, value and remedy.
    """
    if len(dataset) == 0:
        raise DataError(f"{source} is empty; give at least one row.")
    check_columns(list(getattr(dataset, "column_names", None) or dataset[0]), columns, source=source)
    for column in columns:
        for number, value in enumerate(_values(dataset, column, source)):
            check_text(value, f"{source}, row {number}, column {column!r}")


def _values(dataset: Any, column: str, source: str) -> Any:
    if hasattr(dataset, "column_names"):
        # All at once: iterating over a column of `datasets` reads it row by row, which is many times slower.
        return dataset[column][:]
    values = []
    for number, row in enumerate(dataset):
        if column not in row:
            raise DataError(f"{source}, row {number} has no {column!r}; add it, or drop the row.")
        values.append(row[column])
    return values


def check_columns(there: Sequence[str], wanted: Sequence[str], *, source: str = "dataset") -> None:
    """Raise `DataError` unless all columns `wanted` are `there`."""
    for column in wanted:
        if column not in there:
            close = difflib.get_close_matches(column, there, n=1, cutoff=0.5)
            hint = f"Did you mean {close[0]!r}? Rename it" if close else "Rename one"
            raise DataError(
                f"{source} has no column {column!r}, only {', '.join(map(repr, there))}. {hint} with "
                f"dataset.rename_column(…, {column!r})."
            )


def check_text(value: Any, where: str) -> None:
    """Raise `DataError` unless `value` is text that is not blank, or a conversation; it begins with `where`."""
    if isinstance(value, str):
        if not value.strip():
            raise DataError(f"{where} is empty ({excerpt(value)}); fill it in, or drop the row.")
        return
    if isinstance(value, list) and value and all(is_message(message) for message in value):
        return
    raise DataError(
        f"{where} is {excerpt(value)}, which is no text; give a string, or a list of messages with role and content."
    )
