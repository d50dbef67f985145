"""How commands read files of outputs, their own and those of other tools."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from genrlhf.data.files import STDIN, named
from genrlhf.errors import ConfigError

__all__ = ["READS", "add_reading_options", "read_outputs", "reading_settings"]

READS = ("prompts",)
"""Of the options, those that are files to be read."""

_OPTIONS = ("format", "prompt_column", "outputs_column", "reference_column", "group_by", "prompts")


def add_reading_options(parser: argparse.ArgumentParser, *, prompts: bool = True) -> None:
    """Add the options that say where in a file prompts and outputs are.

    Args:
        parser: of a command.
        prompts: with `--prompts`, another file that prompts are taken from.
    """
    from genrlhf.integrations.registry import FORMATS

    group = parser.add_argument_group(
        "files of other tools",
        "Without these options, a file is known by its columns. JSON, JSON lines, CSV and TSV (plain or gzipped), "
        "Parquet and Inspect's .eval are read; a column within others is named by its path, as in doc.query.",
    )
    group.add_argument(
        "--format",
        choices=[one.name for one in FORMATS],
        metavar="TOOL",
        help=f"the tool that wrote the files, if it is not to be told: {', '.join(one.name for one in FORMATS)}",
    )
    group.add_argument("--prompt-column", metavar="COLUMN", help="where the prompt is")
    group.add_argument(
        "--outputs-column", metavar="COLUMN", help="where the outputs are: a list of texts, or one text a row"
    )
    group.add_argument("--reference-column", metavar="COLUMN", help="where the reference is")
    group.add_argument(
        "--group-by", metavar="COLUMN", help="make the rows with the same value there, a sample each, one input"
    )
    if prompts:
        group.add_argument(
            "--prompts",
            metavar="FILE",
            help="take prompts from another file: the input of a batch, or a row for every input in the same order",
        )


def read_outputs(file: str, args: argparse.Namespace, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place, file included, and content of every row of a file of outputs.

    Args:
        file: its name; `-` is standard input.
        args: with the options of `add_reading_options`.
        notes: gets what there is to say of the file, once it is read.
    """
    from genrlhf.integrations.loading import OutputsFile

    if args.prompts == STDIN and vars(args).setdefault("prompts_of", file) != file:
        raise ConfigError("--prompts - can be read for one file of outputs; give a file.")
    # Only some commands ask which outputs are right.
    outputs = OutputsFile(
        file, **{name: getattr(args, name) for name in _OPTIONS}, verdicts_column=getattr(args, "verdicts", None)
    )
    try:
        for place, row in outputs:
            yield f"{named(file)}, {place}", row
    finally:
        notes += outputs.notes()


def reading_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
