"""The files of outputs that are compared with each other."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrlhf.cli.reading import read_outputs
from genrlhf.cli.terminal import say
from genrlhf.data.files import STDIN, iter_rows, named
from genrlhf.errors import DataError, excerpt

__all__ = ["ComparedOutputs", "read_models", "read_preferences", "read_references"]


@dataclass(frozen=True)
class ComparedOutputs:
    """Two outputs of every prompt.

    Attributes:
        names: what the two sides are called.
        prompts: one a comparison.
        first: the outputs of the first side.
        second: those of the second, whose win rate is counted.
        datasets: the test set of every comparison, None where the file does not say.
    """

    names: tuple[str, str]
    prompts: list[str]
    first: list[str]
    second: list[str]
    datasets: list[Any]


def read_models(first: str, second: str, args: argparse.Namespace) -> ComparedOutputs:
    """Return the first outputs of two files with the same prompts.

    Args:
        first: one file.
        second: the other.
        args: with `limit`, and the options of `add_reading_options`.

    Raises:
        DataError: they do not hold the same prompts, saying how many and which.
    """
    limit = args.limit
    one, other = _read(first, args, limit), _read(second, args, None)
    lost = [prompt for prompt in one if prompt not in other]
    if lost or (limit is None and len(other) != len(one)):
        shown = f", such as {excerpt(lost[0])}" if lost else ""
        raise DataError(
            f"{first} and {second} do not hold the same prompts: {len(lost)} of the {len(one)} of the first are not "
            f"among the {len(other)} of the second{shown}; compare outputs of the same prompts."
        )
    stems = (_name(first, one), _name(second, other))
    return ComparedOutputs(
        stems if stems[0] != stems[1] else (first, second),
        list(one),
        [row["outputs"][0] for _, row in one.values()],
        [other[prompt][1]["outputs"][0] for prompt in one],
        [row.get("dataset") for _, row in one.values()],
    )


def read_references(file: str, args: argparse.Namespace) -> ComparedOutputs:
    """Return the first outputs of a file against the references of its rows, which come first."""
    read = _read(file, args, args.limit)
    for place, row in read.values():
        if not isinstance(row.get("reference"), str):
            raise DataError(f'{place} has no "reference"; add it, or give outputs of a second model.')
    rows = [row for _, row in read.values()]
    return ComparedOutputs(
        ("reference", _name(file, read)),
        list(read),
        [row["reference"] for row in rows],
        [row["outputs"][0] for row in rows],
        [row.get("dataset") for row in rows],
    )


def read_preferences(file: str, args: argparse.Namespace) -> ComparedOutputs:
    """Return the rejected and the chosen texts of a set of human preferences.

    The win rate of the chosen ones is how often a judge agrees with the humans. A pair that occurs twice counts once;
    a prompt may have several pairs.
    """
    from genrlhf.metrics.preference.validating.matching import pairs_from_preferences

    pairs: dict[tuple[str, str, str], Any] = {}
    for row in pairs_from_preferences(row for _, row in iter_rows(file)):
        pairs.setdefault((row["instruction"], row["output_2"], row["output_1"]), row.get("dataset"))
        if len(pairs) == args.limit:
            break
    prompts, rejecteds, chosens = (list(column) for column in zip(*pairs, strict=True))
    return ComparedOutputs(("rejected", "chosen"), prompts, rejecteds, chosens, list(pairs.values()))


def _name(file: str, rows: dict[str, tuple[str, dict[str, Any]]]) -> str:
    """Return the name of the model that wrote the outputs, where all rows have it, else that of the file."""
    generators = [row.get("generator") for _, row in rows.values()]
    if isinstance(generators[0], str) and generators[0] and all(one == generators[0] for one in generators):
        return generators[0]
    return "stdin" if file == STDIN else Path(file).name.split(".")[0]


def _read(file: str, args: argparse.Namespace, limit: int | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return place and content of every row, by the text of its prompt."""
    from genrlhf.metrics.preference.validating.matching import said

    rows: dict[str, tuple[str, dict[str, Any]]] = {}
    notes: list[str] = []
    for where, row in read_outputs(file, args, notes):
        if not row["outputs"]:
            raise DataError(f'{where} has [] for "outputs"; give a list of strings.')
        prompt = said(row.get("prompt"), f"{where}, prompt,")
        if prompt in rows:
            raise DataError(f"{where} has the same prompt as {rows[prompt][0]}; a comparison needs every prompt once.")
        rows[prompt] = (where, row)
        if len(rows) == limit:
            break
    for note in notes:
        say(note)
    if not rows:
        raise DataError(f"{named(file)} holds no rows; write one JSON object a row.")
    return rows
