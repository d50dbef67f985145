"""Seed tasks: instructions that people wrote, with instances where there are some."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from genrlhf.data.files import iter_rows, named
from genrlhf.errors import DataError, excerpt

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Instance", "SeedTask", "Seeds", "digest", "read_instructions", "read_seeds"]

Seeds: TypeAlias = Union[str, "os.PathLike[str]", "Dataset", Sequence[Mapping[str, Any]]]
"""A file of rows, a dataset, or rows as dictionaries."""


@dataclass(frozen=True)
class Instance:
    """What an instruction is carried out on, "" where it says all there is to know, and what comes of it."""

    input: str
    output: str


@dataclass(frozen=True)
class SeedTask:
    """A task that a person wrote.

    Attributes:
        id: its name in files.
        instruction: what is to be done, on one line.
        is_classification: whether the answer is one of a few labels; None where nobody says.
        instances: with an output each.
    """

    id: str
    instruction: str
    is_classification: bool | None = None
    instances: tuple[Instance, ...] = ()


def read_seeds(seeds: Seeds) -> list[SeedTask]:
    """Return the seed tasks of a file or of rows.

    A row has an `instruction`; `id`, `is_classification` and `instances`, a list of `{"input", "output"}`, or one
    instance in `input` and `output`, where it has them.

    Raises:
        DataError: no rows, an instruction that is missing, blank or twice there, or other columns of another kind.
    """
    name = _name(seeds)
    tasks = [_task(row, number, f"{name}, {place}") for number, (place, row) in enumerate(_rows(seeds))]
    if not tasks:
        raise DataError(f"{name} holds no seed tasks; give rows with an instruction each.")
    places: dict[str, int] = {}
    for number, task in enumerate(tasks):
        if (first := places.setdefault(task.id, number)) != number:
            raise DataError(
                f"{name}: the seed tasks {first} and {number} (from 0) have the same id {excerpt(task.id)}; give each "
                "its own, or none."
            )
    return tasks


def read_instructions(source: Seeds | Sequence[str]) -> list[str]:
    """Return the instructions of a file or of rows, or texts as they are."""
    if not isinstance(source, (str, os.PathLike)) and all(isinstance(each, str) for each in source):
        return [_one_line(str(text)) for text in source]
    name = _name(source)
    return [_instruction(row, f"{name}, {place}") for place, row in _rows(source)]


def digest(name: str, things: Iterable[Any]) -> dict[str, str]:
    """Return what tells these from others, as `genrlhf.data.log.differences` compares it."""
    text = json.dumps(list(things), sort_keys=True)
    return {"name": name, "digest": hashlib.sha256(text.encode()).hexdigest()[:16]}


def _name(source: Any) -> str:
    return named(source) if isinstance(source, (str, os.PathLike)) else "seeds"


def _rows(source: Seeds) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(source, (str, os.PathLike)):
        yield from iter_rows(source)
        return
    for number, row in enumerate(source):
        if not isinstance(row, Mapping):
            raise DataError(f"seeds, row {number} is {excerpt(row)}; give a dictionary with an instruction.")
        yield f"row {number}", row


def _task(row: Mapping[str, Any], number: int, where: str) -> SeedTask:
    verdict = row.get("is_classification")
    if not (verdict is None or isinstance(verdict, bool)):
        raise DataError(f"{where}, column 'is_classification' is {excerpt(verdict)}; give true, false or nothing.")
    chosen = row.get("id")
    return SeedTask(
        id=f"seed_{number}" if chosen is None else str(chosen),
        instruction=_instruction(row, where),
        is_classification=verdict,
        instances=_instances(row, where),
    )


def _instruction(row: Mapping[str, Any], where: str) -> str:
    text = row.get("instruction")
    if not isinstance(text, str) or not text.strip():
        found = "there is none" if text is None else f"it is {excerpt(text)}"
        raise DataError(f"{where} needs an instruction, and {found}; write a text there, or drop the row.")
    return _one_line(text)


def _instances(row: Mapping[str, Any], where: str) -> tuple[Instance, ...]:
    given = row.get("instances")
    if given is None:
        given = [row] if row.get("output") is not None else []
    if not isinstance(given, (list, tuple)):
        raise DataError(f"{where}, column 'instances' is {excerpt(given)}; give a list of inputs with their outputs.")
    found = []
    for each in given:
        given_input, output = (each.get("input") or "", each.get("output")) if isinstance(each, Mapping) else ("", None)
        if not (isinstance(given_input, str) and isinstance(output, str)):
            raise DataError(f'{where} has the instance {excerpt(each)}; write {{"input": text, "output": text}}.')
        if output.strip():
            found.append(Instance(given_input.strip(), output.strip()))
    return tuple(found)


def _one_line(text: str) -> str:
    return " ".join(text.split())
