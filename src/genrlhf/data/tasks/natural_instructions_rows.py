"""The instances of Super-NaturalInstructions, from its repository, the hub, or rows of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genrlhf.data.schema import check_columns, check_text
from genrlhf.data.sources import Source, read_splits, renamed, source_name
from genrlhf.errors import DataError, excerpt
from genrlhf.json_text import parse_json

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["HUB_SOURCE", "KNOWN", "Instance", "read_instances"]

HUB_SOURCE = "Muennighoff/natural-instructions"

KNOWN = ("task", "definition", "input", "outputs", "category", "source", "positive_examples", "split", "id")
_HUB_NAMES = {"task": "task_name", "input": "inputs", "outputs": "targets"}


class Instance(NamedTuple):
    """An instance of a task.

    Attributes:
        task: its name.
        definition: of the task.
        input: of the instance.
        outputs: the texts that are accepted, at least one.
        split: "train", "validation" or "test".
        category: of the task, "" where it is not said.
        sources: datasets that the task was made of.
        examples: with `input`, `output` and maybe `explanation`.
    """

    task: str
    definition: str
    input: str
    outputs: tuple[str, ...]
    split: str
    category: str
    sources: tuple[str, ...]
    examples: tuple[Mapping[str, str], ...]


def read_instances(source: Source, columns: Mapping[str, str] | None) -> list[Instance]:
    """Return the instances of a source, in its order.

    Raises:
        DataError: a source that cannot be read, or a row of another shape.
    """
    if isinstance(source, (str, os.PathLike)) and (Path(source).expanduser() / "tasks").is_dir():
        return _of_repository(Path(source).expanduser())
    name = source_name(source)
    found = read_splits(source, columns=columns)
    return [one for split, rows in found.items() for one in _of_rows(rows, split, f"{name} ({split})")]


def _of_rows(dataset: Dataset, split: str, name: str) -> list[Instance]:
    there = dataset.column_names
    aliases = {ours: hub for ours, hub in _HUB_NAMES.items() if ours not in there and hub in there}
    dataset = renamed(dataset, aliases, source=name)
    check_columns(dataset.column_names, ["task", "definition", "input", "outputs"], source=name)
    made: dict[Any, Instance] = {}
    # Rows one by one would be taken out of their table one by one, which takes longer than all else.
    batches = dataset.iter(batch_size=1000)
    rows = (dict(zip(batch, row, strict=True)) for batch in batches for row in zip(*batch.values(), strict=True))
    for number, row in enumerate(rows):
        one = _instance(row, split, f"{name}, row {number}")
        # The hub has a row for every accepted output of an instance.
        key = (one.task, row["id"], one.input) if row.get("id") is not None else number
        if key in made:
            one = one._replace(outputs=(*made[key].outputs, *(o for o in one.outputs if o not in made[key].outputs)))
        made[key] = one
    return list(made.values())


def _instance(row: Mapping[str, Any], split: str, where: str) -> Instance:
    for column in ("task", "definition", "input"):
        check_text(row[column], f"{where}, column {column!r}")
    outputs = row["outputs"]
    texts = [outputs] if isinstance(outputs, str) else list(outputs or [])
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(f"{where}, column 'outputs' is {excerpt(outputs)}; give the accepted texts, at least one.")
    examples = row.get("positive_examples") or []
    if not all(
        isinstance(e, Mapping) and isinstance(e.get("input"), str) and isinstance(e.get("output"), str)
        for e in examples
    ):
        raise DataError(f"{where}, column 'positive_examples' is {excerpt(examples)}; give a list of input and output.")
    sources = row.get("source") or []
    return Instance(
        row["task"],
        row["definition"],
        row["input"],
        tuple(texts),
        split,
        row.get("category") or "",
        (sources,) if isinstance(sources, str) else tuple(sources),
        tuple(examples),
    )


def _of_repository(folder: Path) -> list[Instance]:
    """Return the instances of a clone of allenai/natural-instructions, of the tasks in its lists if it has any."""
    lists = {split: folder / "splits" / "default" / f"{split}_tasks.txt" for split in ("train", "test")}
    named = {split: file.read_text(encoding="utf-8").split() for split, file in lists.items() if file.is_file()}
    if not named:
        named = {"train": sorted(file.stem for file in (folder / "tasks").glob("*.json"))}
    made = []
    for split, tasks in named.items():
        for task in tasks:
            if (file := folder / "tasks" / f"{task}.json").is_file():
                made += _of_task(file, task, split)
    if not made:
        raise DataError(
            f"{folder} has no instance in tasks/*.json of the tasks that splits/default names; clone it whole."
        )
    return made


def _of_task(file: Path, task: str, split: str) -> list[Instance]:
    content = parse_json(file.read_bytes(), str(file))
    keys = ("Definition", "Instances")
    if not isinstance(content, dict) or not all(key in content for key in keys):
        raise DataError(f"{file} has no {' and '.join(map(repr, keys))}; give a task of Super-NaturalInstructions.")
    definition = content["Definition"]
    shared = {
        "task": task,
        "definition": definition if isinstance(definition, str) else definition[0],
        "category": (content.get("Categories") or [""])[0],
        "source": content.get("Source") or [],
        "positive_examples": content.get("Positive Examples") or [],
    }
    return [
        _instance(
            {**shared, "input": one.get("input"), "outputs": one.get("output")}, split, f"{file}, instance {number}"
        )
        for number, one in enumerate(content["Instances"])
    ]
