"""`genrlhf judge export` and `genrlhf judge import`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json, print_table
from genrlhf.errors import ConfigError, DataError, excerpt, printable

if TYPE_CHECKING:
    from genrlhf.metrics.preference.validating.labelling import LabelItem

__all__ = ["add_export", "add_import"]


def add_export(commands: Any) -> None:
    """Add `judge export` to the subparsers."""
    parser = add(
        commands,
        "export",
        _export,
        help="write a page on which people label pairs of outputs",
        description="Draw inputs of every test set and write their pairs of outputs as one HTML page, on which people "
        "say which output is better without seeing what wrote it. The page needs no network: send it, and have the "
        "saved labels sent back. What wrote what is in the key, which those who label should not get.",
        seed="of all draws",
        output="where the page goes",
        default_output="labelling.html",
        reads=("files",),
        writes=("key",),
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="ANNOTATIONS",
        help="judgements in AlpacaEval's form: .json or .jsonl, plain or .gz; the test set is a row's dataset, or the "
        "name of its file",
    )
    parser.add_argument("--per-set", type=int, default=25, help="inputs of every test set (default: %(default)s)")
    parser.add_argument("--key", help="where the key goes (default: beside --output, such as labelling.key.jsonl)")
    parser.add_argument("--title", default="Which output is better?", help="of the page (default: %(default)s)")


def add_import(commands: Any) -> None:
    """Add `judge import` to the subparsers."""
    parser = add(
        commands,
        "import",
        _import,
        help="turn labels that people saved into annotations",
        description="Read the labels that people saved on a page of judge export, say how many there are, "
        "and write them as annotations in AlpacaEval's form.",
        output="where the annotations go",
        default_output="human_annotations.jsonl",
        reads=("key", "files"),
    )
    parser.add_argument("key", metavar="KEY", help="what was written with the page, such as labelling.key.jsonl")
    parser.add_argument("files", nargs="+", metavar="LABELS", help="what was saved on the page")


def _export(args: argparse.Namespace) -> int:
    """Draw, write page and key, and say what is in them."""
    from genrlhf.data.files import replacing
    from genrlhf.data.log import replace_records
    from genrlhf.metrics.preference.validating.labelling import draw_pairs, key_rows, labelling_page, page_id

    output = Path(args.output).expanduser()
    key = Path(args.key).expanduser() if args.key else output.with_suffix(".key.jsonl")
    if output.suffix != ".html":
        raise ConfigError(f"--output {output} must end in .html.")
    if key.suffix != ".jsonl":
        raise ConfigError(f"--key {key} must end in .jsonl.")
    if args.per_set < 1:
        raise ConfigError(f"--per-set must be at least 1, not {args.per_set}.")
    items = draw_pairs(_rows_by_set(args.files), per_set=args.per_set, seed=args.seed)
    rows = key_rows(items)
    _check_key(key, rows)
    page = labelling_page(items, args.title)
    # The key first: a page without its key would be labelled in vain.
    replace_records(key, rows)
    with replacing(output) as partial:
        partial.write_bytes(page.encode())
    sets = _counts(items)
    if args.json:
        print_json({"page": page_id(items), "items": len(items), "sets": sets, "output": str(output), "key": str(key)})
        return 0
    print_table(
        [["test set", "inputs", "pairs"]]
        + [[name, str(count["inputs"]), str(count["pairs"])] for name, count in sets.items()]
    )
    print(f"{len(items)} pairs to label in {printable(output)}; keep {printable(key)} from those who label.")
    return 0


def _rows_by_set(files: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    from genrlhf.data.files import STDIN, SUFFIXES, iter_rows, named
    from genrlhf.metrics.preference.validating.labelling import check_pair

    sets: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        name = named(file) if file == STDIN else Path(file).name
        stem = name.removesuffix(next((suffix for suffix in SUFFIXES if name.endswith(suffix)), ""))
        empty = True
        for place, row in iter_rows(file):
            empty = False
            check_pair(row, f"{named(file)}, {place}")
            dataset = stem if row.get("dataset") is None else row["dataset"]
            if not isinstance(dataset, str):
                raise DataError(
                    f"{named(file)}, {place} has {excerpt(dataset)} for 'dataset'; name the test set, or leave it out."
                )
            sets.setdefault(dataset, []).append(row)
        if empty:
            raise DataError(f"{named(file)} holds no rows; leave it out, or give a file of judgements.")
    return sets


def _check_key(key: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ConfigError` where another key would be lost."""
    from genrlhf.data.files import iter_rows

    if not key.exists():
        return
    try:
        same = [row for _, row in iter_rows(key)] == rows
    except DataError:
        same = False
    if not same:
        raise ConfigError(
            f"{key} is there already, and not the key of this page; without it, labels of its page could not be read. "
            "Name another --output and --key, or remove it."
        )


def _counts(items: Sequence[LabelItem]) -> dict[str, dict[str, int]]:
    """Return how many inputs and pairs every test set has."""
    inputs: dict[str, list[str]] = {}
    for item in items:
        inputs.setdefault(item.dataset, []).append(item.instruction)
    return {name: {"inputs": len(set(inputs[name])), "pairs": len(inputs[name])} for name in sorted(inputs)}


def _import(args: argparse.Namespace) -> int:
    """Read labels, write annotations, and say how many there are."""
    from genrlhf.data.files import iter_rows
    from genrlhf.data.log import replace_records
    from genrlhf.metrics.preference.validating.human_labels import read_labels

    output = Path(args.output).expanduser()
    if output.suffix != ".jsonl":
        raise ConfigError(f"--output {output} must end in .jsonl.")
    key = [row for _, row in iter_rows(args.key)]
    rows = read_labels(key, {file: _content(file) for file in args.files})
    replace_records(output, rows)
    counts = _label_counts(key, rows)
    if args.json:
        print_json({"annotators": counts, "labels": len(rows), "items": len(key), "output": str(output)})
        return 0
    print_table(
        [["annotator", "test set", "labels", "skipped", "missing"]]
        + [
            [annotator, name, *(str(count[what]) for what in ("labels", "skipped", "missing"))]
            for annotator, sets in counts.items()
            for name, count in sets.items()
        ]
    )
    print(f"{len(rows)} annotations in {printable(output)}")
    return 0


def _content(file: str) -> bytes:
    """Return what a file of labels holds, or a byte more than may be read of one that is too large."""
    from genrlhf.data.files import STDIN
    from genrlhf.metrics.preference.validating.human_labels import MOST_BYTES

    if file == STDIN:
        return bytes(sys.stdin.buffer.read(MOST_BYTES + 1))
    try:
        with Path(file).expanduser().open("rb") as labels:
            return labels.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); give a file saved on the page.") from error


def _label_counts(
    key: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Return by annotator and test set how many pairs have a label, were skipped, or are missing."""
    pairs: dict[str, int] = {}
    for row in key:
        pairs[row["dataset"]] = pairs.get(row["dataset"], 0) + 1
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        if row["annotator"] not in counts:
            counts[row["annotator"]] = {
                name: {"labels": 0, "skipped": 0, "missing": pairs[name]} for name in sorted(pairs)
            }
        count = counts[row["annotator"]][row["dataset"]]
        count["skipped" if row["preference"] is None else "labels"] += 1
        count["missing"] -= 1
    return counts
