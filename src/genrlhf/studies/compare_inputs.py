"""The inputs of a comparison, and the outputs that files have for them, matched by what the prompts say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.metrics.preference.validating.matching import said

__all__ = ["FIRST_SET", "GivenOutputs", "Input", "common_inputs", "inputs_of", "sets_of"]

FIRST_SET = "id"
"""The evaluation set of rows that name none, and the first one where there is one of this name."""


@dataclass(frozen=True)
class Input:
    """An input.

    Attributes:
        prompt: text, or a list of messages.
        text: what it says; one message of the user's is its text.
        where: the evaluation set.
        reference: a good output, where there is one.
    """

    prompt: Any
    text: str
    where: str
    reference: str | None


@dataclass(frozen=True)
class GivenOutputs:
    """The outputs of a file.

    Attributes:
        name: what the comparison calls them.
        rows: by what the prompt says: the outputs, and the row that they stand in.
        repeated: how many rows have the prompt of an earlier one, and are left out.
    """

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    repeated: int

    @classmethod
    def of(cls, name: str, rows: Iterable[Mapping[str, Any]]) -> GivenOutputs:
        """Return the outputs of rows with `prompt` and `outputs`.

        Raises:
            DataError: a row has no prompt or no outputs, or there are no rows.
        """
        found: dict[str, Mapping[str, Any]] = {}
        repeated = 0
        for number, row in enumerate(rows):
            where = f"{name}, row {number}"
            if row.get("prompt") is None:
                raise DataError(f"{where} has no prompt, by which outputs are matched; give --prompts FILE (prompts=).")
            outputs = row.get("outputs")
            if not isinstance(outputs, list) or not outputs or not all(isinstance(text, str) for text in outputs):
                raise DataError(f'{where} has {excerpt(outputs)} for "outputs"; give a list of texts.')
            text = said(row["prompt"], f"{where}, prompt,")
            repeated += text in found
            found.setdefault(text, row)
        if not found:
            raise DataError(f"{name} has no outputs; give a row for every prompt.")
        return cls(name, found, repeated)

    def outputs(self, one: Input) -> list[str]:
        """Return the outputs for an input that is there."""
        return list(self.rows[one.text]["outputs"])


def inputs_of(
    rows: Iterable[Mapping[str, Any]], *, source: str, limit: int | None = None, warnings: list[str]
) -> list[Input]:
    """Return inputs, each prompt once.

    Args:
        rows: with `prompt`, and maybe `reference` and `dataset`, the evaluation set.
        source: what messages call them.
        limit: the first so many of every set.
        warnings: gets what there is to say.

    Raises:
        DataError: a row has no prompt, or there are no rows.
    """
    found: dict[str, Input] = {}
    repeated, counts = 0, dict[str, int]()
    for number, row in enumerate(rows):
        text = said(row.get("prompt"), f"{source}, row {number}, prompt,")
        where = FIRST_SET if row.get("dataset") is None else str(row["dataset"])
        if text in found:
            repeated += 1
            continue
        counts[where] = counts.get(where, 0) + 1
        if limit is None or counts[where] <= limit:
            reference = row.get("reference")
            found[text] = Input(row["prompt"], text, where, reference if isinstance(reference, str) else None)
    if repeated:
        warnings.append(f"{source}: {repeated} row(s) have the prompt of an earlier row, and are left out.")
    if not found:
        raise DataError(f"{source} has no prompts; give a row for each.")
    return list(found.values())


def sets_of(inputs: Sequence[Input]) -> list[str]:
    """Return the names of the evaluation sets, the one in distribution first: "id", or else that of the first input."""
    names = list(dict.fromkeys(one.where for one in inputs))
    return sorted(names, key=lambda name: name != FIRST_SET)


def common_inputs(
    inputs: Sequence[Input], given: Sequence[GivenOutputs], *, source: str, warnings: list[str]
) -> list[Input]:
    """Return the inputs that every file has outputs for, with a reference from a file where they have none.

    Args:
        inputs: all.
        given: the files.
        source: where the inputs are from, for messages.
        warnings: gets, with counts, what does not match.

    Raises:
        DataError: a file has none of them, or all files together leave none.
    """
    kept = list(inputs)
    known = {one.text for one in inputs}
    for file in given:
        missing = [one for one in inputs if one.text not in file.rows]
        others = [text for text in file.rows if text not in known]
        if len(missing) == len(inputs):
            raise DataError(
                f"{file.name} has outputs for none of the {len(inputs)} prompts of {source}: it has "
                f"{excerpt(next(iter(file.rows)))} where those have {excerpt(inputs[0].text)}; compare outputs of the "
                "same prompts."
            )
        if missing:
            warnings.append(
                f"{file.name} has no outputs for {len(missing)} of the {len(inputs)} prompts of {source}, such as "
                f"{excerpt(missing[0].text)}; they are left out for all."
            )
        if others:
            warnings.append(
                f"{file.name} has outputs for {len(others)} prompt(s) that {source} has not, such as "
                f"{excerpt(others[0])}; they are left out."
            )
        if file.repeated:
            warnings.append(f"{file.name}: {file.repeated} row(s) have the prompt of an earlier row, and are left out.")
        kept = [one for one in kept if one.text in file.rows]
    if not kept:
        raise DataError(
            f"No prompt of {source} has outputs in all of {', '.join(file.name for file in given)}; compare outputs of "
            "the same prompts."
        )
    return [_with_reference(one, given) for one in kept]


def _with_reference(one: Input, given: Sequence[GivenOutputs]) -> Input:
    if one.reference is not None:
        return one
    of_files = [file.rows[one.text].get("reference") for file in given]
    return replace(one, reference=next((text for text in of_files if isinstance(text, str)), None))
