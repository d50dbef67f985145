"""Collators that hand on what an objective reads beside the tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["GROUP", "IGNORED", "Columns", "Lists"]

IGNORED = -100
"""The label of a token that is not learnt."""

GROUP = "genrlhf_group"
"""The column of the group that a line of a batch belongs to."""


class Columns:
    """A collator that hands on further columns as lists, beside what another one makes of the tokens.

    Args:
        collator: of the tokens.
        names: of the columns.
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]], names: Sequence[str]) -> None:
        self.collator = collator
        self.names = tuple(names)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, with `columns` in it."""
        tokens = [{name: value for name, value in row.items() if name not in self.names} for row in rows]
        return {**self.collator(tokens), "columns": {name: [row[name] for row in rows] for name in self.names}}


class Lists:
    """A collator of rows that hold several completions: a line of the batch for each, one behind the other.

    Args:
        collator: of the tokens.
        names: of columns, lists with a value for each completion.
        max_length: tokens of prompt and completion, which loses its end; None for no limit.
    """

    def __init__(
        self,
        collator: Callable[[list[dict[str, Any]]], dict[str, Any]],
        names: Sequence[str],
        *,
        max_length: int | None = None,
    ) -> None:
        self.collator = collator
        self.names = tuple(names)
        self.max_length = max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch, with `columns` in it, and in them the row of each line as `GROUP`."""
        lines = [
            {
                "input_ids": (row["prompt_ids"] + ids)[: self.max_length],
                "labels": ([IGNORED] * len(row["prompt_ids"]) + ids)[: self.max_length],
            }
            for row in rows
            for ids in row["completion_ids"]
        ]
        columns = {name: [value for row in rows for value in row[name]] for name in self.names}
        columns[GROUP] = [number for number, row in enumerate(rows) for _ in row["completion_ids"]]
        return {**self.collator(lines), "columns": columns}
