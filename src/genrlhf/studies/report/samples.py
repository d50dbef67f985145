"""What a report shows of outputs: some inputs of every evaluation set, with all that every method wrote for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.json_text import parse_json
from genrlhf.studies.results import OutputsOf, Results

__all__ = ["INPUTS", "MOST_CHARACTERS", "MOST_ROOM", "SampleSet", "read_samples"]

INPUTS = 100
"""Inputs of a set that a report has unless it is told otherwise, fewer where they take more than `MOST_ROOM`."""

MOST_ROOM = 12_000_000
"""Characters that outputs take in a page unless it is told how many inputs to have."""

MOST_CHARACTERS = 20_000
"""Characters of one text that a page has; where there are more, it says how many."""

_Key = tuple[str, int]


@dataclass
class SampleSet:
    """The inputs of an evaluation set.

    Attributes:
        name: of the set.
        total: how many there are.
        inputs: those that are shown, `{"prompt": text, "reference": text}`.
        files: what every method wrote: `{"method", "temperature", "seed", "rows"}`, a row being a list of texts, or
            None where there is no such row. A text that was cut is `[text, its length]`.
    """

    name: str
    total: int
    inputs: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)


def read_samples(results: Results, folder: Path, inputs: int | None = None) -> list[SampleSet]:
    """Return the first inputs of every set with what was written for them, in the order of the set's first file.

    Args:
        results: what lists the files.
        folder: that they are relative to.
        inputs: how many of every set; by default `INPUTS`, or as many as fit into `MOST_ROOM`.

    Raises:
        ConfigError: `inputs` is below 0.
        DataError: a file is missing, damaged, or has changed since the results were written.
    """
    if inputs is not None and inputs < 0:
        raise ConfigError(f"inputs is {inputs}; it must be 0 or more (--inputs).")
    if inputs == 0:
        return []
    most = INPUTS if inputs is None else inputs
    found = [_read_set(name, results, folder, most) for name in results["sets"]]
    found = [one for one in found if one.files]
    if inputs is None:
        _make_fit(found)
    return found


def _read_set(name: str, results: Results, folder: Path, most: int) -> SampleSet:
    entries = [entry for entry in results["outputs"] if entry["set"] == name]
    shown, places, tables = SampleSet(name, 0), dict[_Key, int](), []
    for entry in entries:
        rows, total = _read_file(folder, entry, places, most)
        for key, row in rows.items():
            if key not in places:
                places[key] = len(places)
                shown.inputs.append({"prompt": _cut(_prompt_text(row["prompt"]))})
            if isinstance(row.get("reference"), str):
                shown.inputs[places[key]].setdefault("reference", _cut(row["reference"]))
        shown.total = max(shown.total, total, len(places))
        tables.append(rows)
    for entry, rows in zip(entries, tables, strict=True):
        texts = [[_cut(text) for text in rows[key]["outputs"]] if key in rows else None for key in places]
        shown.files.append({**{part: entry[part] for part in ("method", "temperature", "seed")}, "rows": texts})
    return shown


def _read_file(
    folder: Path, entry: OutputsOf, places: dict[_Key, int], most: int
) -> tuple[dict[_Key, dict[str, Any]], int]:
    """Return the rows of a file that are to be shown, and how many it has."""
    file = folder / entry["file"]
    found: dict[_Key, dict[str, Any]] = {}
    repeated: dict[str, int] = {}
    total, wanted, known = 0, set(places), set(places)
    for number, line in enumerate(_lines(file, entry), start=1):
        if not line.strip():
            continue
        total += 1
        if not wanted and len(known) >= most:
            continue
        row = _row(line, f"{file}, line {number}")
        prompt = json.dumps(row["prompt"], sort_keys=True)
        key = (prompt, repeated.get(prompt, 0))
        repeated[prompt] = key[1] + 1
        if key in wanted or len(known) < most:
            found[key] = row
            known.add(key)
            wanted.discard(key)
    return found, total


def _lines(file: Path, entry: OutputsOf) -> Iterator[bytes]:
    """Yield the lines of a file, and raise at its end where it is not what was measured."""
    leave = "or make the report without outputs (--inputs 0)"
    if not file.is_file():
        raise DataError(f"{file}, the outputs of {entry['method']!r}, does not exist; put it back, {leave}.")
    digest = hashlib.sha256()
    try:
        with file.open("rb") as lines:
            for line in lines:
                digest.update(line)
                yield line
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); mend it, {leave}.") from error
    expected = entry.get("sha256")
    if expected is not None and expected != digest.hexdigest():
        raise DataError(
            f"{file} has changed since the results were written, and its figures are of other outputs; run again what "
            f"wrote it, {leave}."
        )


def _row(line: bytes, where: str) -> dict[str, Any]:
    row = parse_json(line.rstrip(), where)
    if not isinstance(row, dict) or "prompt" not in row or not isinstance(row.get("outputs"), list):
        raise DataError(f'{where} is {excerpt(row)}, not {{"prompt": …, "outputs": […]}}; run again what wrote it.')
    for text in row["outputs"]:
        if not isinstance(text, str):
            raise DataError(
                f"{where} has {excerpt(text)} among its outputs, where texts belong; run again what wrote it."
            )
    return row


def _prompt_text(prompt: Any) -> str:
    """Return a prompt as text, messages one below the other with who says them."""
    if isinstance(prompt, list) and all(isinstance(one, dict) and "content" in one for one in prompt):
        return "\n\n".join(f"{one.get('role', '')}: {_content(one['content'])}" for one in prompt)
    return _content(prompt)


def _content(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> Any:
    return text if len(text) <= MOST_CHARACTERS else [text[:MOST_CHARACTERS], len(text)]


def _make_fit(sets: Sequence[SampleSet]) -> None:
    """Leave out the last inputs of the sets until they fit, but one of each."""
    sizes = [[_size(one, number) for number in range(len(one.inputs))] for one in sets]
    keep = max((len(one) for one in sizes), default=0)
    while keep > 1 and sum(sum(one[:keep]) for one in sizes) > MOST_ROOM:
        keep -= 1
    for one in sets:
        del one.inputs[keep:]
        for file in one.files:
            del file["rows"][keep:]


def _size(shown: SampleSet, number: int) -> int:
    rows = (file["rows"][number] for file in shown.files)
    return len(json.dumps([shown.inputs[number], *rows]))
