"""Several completions of a prompt in one row, tokenised as demonstrations are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from genrlhf.data.chat import template_options
from genrlhf.data.pairs import as_pair
from genrlhf.data.schema import check_text
from genrlhf.errors import DataError, excerpt
from genrlhf.trainers.pair_data import split_prompt
from genrlhf.trainers.sft_data import DemonstrationEncoder

__all__ = ["GroupEncoder", "check_lists"]


class GroupEncoder(DemonstrationEncoder):
    """Makes `prompt_ids` and `completion_ids`, a list for each of the row's `completions`, and keeps columns."""

    def wanted(self, columns: list[str]) -> list[str]:
        """Return the columns that rows of these columns are made of."""
        return ["prompt", "completions", *self.kept]

    def __call__(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the columns, the number of tokens of the longest text, and what is to be said of them.

        Raises:
            DataError: where there is no text, or columns have not a value for each completion; it begins with `where`.
        """
        check_text(row["prompt"], f"{where}, column 'prompt'")
        check_lists(row, self.kept, where)
        options = template_options(row, where)
        texts = []
        for number, completion in enumerate(row["completions"]):
            check_text(completion, f"{where}, column 'completions', item {number}")
            texts.append(self.tokens(*as_pair(row["prompt"], completion, where=where), options, where))
        prompt_ids, completion_ids = split_prompt(texts, where)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            **{name: row[name] for name in self.kept},
            **self._notes(texts),
        }


def check_lists(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Raise `DataError` unless a row has completions, and in columns `names` a finite value for each of them."""
    completions = row["completions"]
    if not isinstance(completions, (list, tuple)) or not completions:
        raise DataError(f"{where}, column 'completions' is {excerpt(completions)}; give a list of at least one.")
    for name in names:
        values = row[name]
        if not isinstance(values, (list, tuple)) or len(values) != len(completions):
            raise DataError(
                f"{where}, column {name!r} is {excerpt(values)}, and there are {len(completions)} completions; give a "
                "list with a value for each."
            )
        for number, value in enumerate(values):
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                raise DataError(f"{where}, column {name!r} has {value} for completion {number}; give a finite number.")
