"""What `genrlhf compare` is told to compare, and on what."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.reading import read_outputs
from genrlhf.cli.terminal import say
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.launchers import number_of_this_process

if TYPE_CHECKING:
    from genrlhf.data import Task

__all__ = ["named_sources", "read_prompts", "read_rows", "read_task", "read_texts"]


def named_sources(sources: list[str]) -> dict[str, str]:
    """Return what is compared by its names."""
    found: dict[str, str] = {}
    for source in sources:
        name, equals, value = source.partition("=")
        if not equals or not name or not value:
            what = "has no name" if value or not equals else "names no model and no file of outputs"
            raise ConfigError(f"{excerpt(source)} {what}; write NAME=MODEL_OR_OUTPUTS, such as sft=outputs.jsonl.")
        if name in found:
            raise ConfigError(f"{excerpt(name)} names two sources; give each a name of its own.")
        found[name] = value
    return found


def read_task(args: argparse.Namespace) -> Task | None:
    """Return the task whose evaluation sets are compared on, if any."""
    if args.task is None:
        return None
    from genrlhf.data import load_task

    return load_task(args.task)


def read_prompts(args: argparse.Namespace, task: Task | None) -> Iterator[dict[str, Any]] | None:
    """Return rows of prompt, reference and evaluation set; None where they are those of the first file."""
    if task is not None:
        return ({**row, "dataset": name} for name, dataset in task.evaluation.items() for row in dataset)
    return _rows_of_prompts(args) if args.prompts else None


def _rows_of_prompts(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from genrlhf.data.sources import read_split

    dataset = read_split(args.prompts, args.split)
    columns = dataset.column_names
    prompt = next((one for one in (args.prompt_column, "prompt", "instruction", "messages") if one in columns), None)
    if prompt is None:
        raise DataError(f"{args.prompts} has no column of prompts, only {', '.join(columns)}; call it prompt.")
    reference = next((one for one in (args.reference_column, "reference") if one in columns), None)
    for row in dataset:
        yield {
            "prompt": row[prompt],
            "reference": None if reference is None else row[reference],
            "dataset": row.get("dataset"),
        }


def read_rows(file: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a file of outputs, with those of --prompts where it has no prompts of its own."""

    def read(prompts: str | None) -> tuple[list[dict[str, Any]], list[str]]:
        notes: list[str] = []
        reading = argparse.Namespace(**{**vars(args), "prompts": prompts})
        return [row for _, row in read_outputs(file, reading, notes)], notes

    # A folder or dataset is no file that stands beside the outputs, and what was read from a pipe is gone.
    beside = args.prompts if args.prompts and Path(args.prompts).expanduser().is_file() and file != "-" else None
    try:
        rows, notes = read(None)
    except DataError:
        if beside is None:
            raise
        rows, notes = read(beside)
    else:
        if beside is not None and any(row.get("prompt") is None for row in rows):
            rows, notes = read(beside)
    for note in notes if number_of_this_process() == 0 else ():
        say(note)
    return rows


def read_texts(args: argparse.Namespace) -> list[str]:
    """Return the texts on which losses are compared, where there are any."""
    if args.texts is None:
        return []
    from genrlhf.studies.stages import forgetting

    return forgetting.read_texts(args.texts, 200)
