"""Outputs of models from files, in whichever form they are."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.integrations.files.records import Records
from genrlhf.integrations.grouping import grouped
from genrlhf.integrations.registry import columns_of, format_named, recognise
from genrlhf.integrations.samples import OutputsFormat, Sample, is_missing, mapping, plain_messages, texts_of
from genrlhf.integrations.tools.openai_batch import batch_prompt
from genrlhf.integrations.verdicts import verdicts_of
from genrlhf.json_text import parse_json

__all__ = ["OutputsFile", "load_outputs"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]


@dataclass
class OutputsFile:
    """A file of outputs, whose rows come as they are read.

    Iterating yields the place of every row ("line 3") and the row: `prompt` (text, messages or None), `outputs` (a list
    of texts), `reference` and `dataset` where the file has them, and the further columns of files in our own form.
    Outputs that are null are left out, and so are rows that have no other; both are counted.

    Args:
        path: JSON, JSON lines, CSV or TSV (plain or gzipped), Parquet, or an archive of Inspect's; `-` is the standard
            input.
        format: the name of the format, where it is not to be found out.
        prompt_column: the column with the prompt. A column may be named by a path, as in `doc.query`.
        outputs_column: the column with the outputs: a text, or a list of them. By default, and without the others, the
            format is known by the columns that there are.
        reference_column: the column with the reference.
        group_by: the column whose value samples of one input share; they become one row.
        prompts: another file, which has the prompts: the input of a batch, or a row for every input, in order.
        verdicts_column: the column that says which outputs are right: a boolean, or a list of them beside a list of
            outputs; rows then have `verdicts`.

    Attributes:
        outputs_left_out: after reading, how many outputs were null.
        rows_left_out: after reading, how many rows had no others.
        first_left_out: the place of the first of them.
        rows_alike: after reading, how many rows without a prompt have outputs that all begin alike, perhaps with their
            prompt.
    """

    path: str | os.PathLike[str]
    format: str | None = None
    prompt_column: str | None = None
    outputs_column: str | None = None
    reference_column: str | None = None
    group_by: str | None = None
    prompts: str | os.PathLike[str] | None = None
    verdicts_column: str | None = None
    outputs_left_out: int = 0
    rows_left_out: int = 0
    first_left_out: str | None = None
    rows_alike: int = 0

    def __post_init__(self) -> None:
        if self.format is not None:
            format_named(self.format)
            if self.outputs_column is not None:
                raise ConfigError(
                    "--format and --outputs-column (format=, outputs_column=) exclude each other; give one."
                )

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        records = Records(self.path)
        if records.kind == "empty":
            return
        self.outputs_left_out, self.rows_left_out, self.first_left_out, self.rows_alike = 0, 0, None, 0
        top = records.first()
        samples = self._with_prompts(self._by_flags(self._samples(records, top), records.name, top), records.name)
        first = next(samples, None)
        if first is None:
            return
        samples = itertools.chain([first], samples)
        if first.key is not None:
            samples = grouped(samples, records.name)
        some = False
        for sample in samples:
            row = self._row(sample)
            if row is not None:
                some = True
                yield sample.place, row
        if not some:
            raise DataError(
                f"{records.name} has no outputs: those of all {self.rows_left_out} row(s) are null, of requests that "
                f"failed or answers without text, from {self.first_left_out} on; sample again."
            )

    def notes(self) -> list[str]:
        """Say what there is to know of what was read: what was left out, and prompts that may be in the outputs."""
        file, found = os.fspath(self.path), []
        if self.outputs_left_out:
            rows = f", and {self.rows_left_out} row(s) that have no other" if self.rows_left_out else ""
            found.append(
                f"{file}: {self.outputs_left_out} output(s) that are null are left out{rows}; the first is in "
                f"{self.first_left_out}."
            )
        if self.rows_alike:
            found.append(
                f"{file}: in {self.rows_alike} row(s) all outputs begin alike, perhaps with the prompt; "
                "give --prompts FILE, and prompts are taken off (prompts=)."
            )
        return found

    def _samples(self, records: Records, first: Any) -> Iterator[Sample]:
        if self.outputs_column is not None:
            return self._explicit(records.rows(_tops((*self._named(), self.outputs_column, "prompt"))), first, records)
        chosen = format_named(self.format) if self.format else recognise(first, records.name)
        return chosen.read(records.rows(self._read_columns(chosen)), records.name)

    def _read_columns(self, chosen: OutputsFormat) -> list[str] | None:
        if chosen.columns is None:
            return None
        return [*chosen.columns, *_tops(self._named())]

    def _named(self) -> tuple[str | None, ...]:
        """Return the columns beside that with the outputs."""
        return self.prompt_column, self.reference_column, self.group_by, self.verdicts_column

    def _explicit(self, rows: Iterable[tuple[str, Any]], first: Any, records: Records) -> Iterator[Sample]:
        """Yield samples out of the column that was named."""
        column = self.outputs_column or ""
        cells_are_lists = (
            records.kind == "table" and self.group_by is None and _is_list(_value(first, column, records.name, first))
        )
        prompts = isinstance(first, dict) and "prompt" in first
        for place, record in rows:
            where = f"{records.name}, {place}"
            cell = _value(record, column, where, first)
            if cells_are_lists:
                cell = parse_json(str(cell).encode(), f"{where}, {column!r},")
            prompt = plain_messages(mapping(record, where).get("prompt")) if prompts else None
            yield Sample(place, record, texts_of(cell, where, column), prompt)

    def _by_flags(self, samples: Iterable[Sample], file: str, first: Any) -> Iterator[Sample]:
        """Take prompt, reference, key and verdicts from the columns that were named."""
        if not any(self._named()):
            yield from samples
            return
        for sample in samples:
            where = f"{file}, {sample.place}"
            changed: dict[str, Any] = {}
            if self.group_by is not None:
                changed["key"] = _value(sample.record, self.group_by, where, first)
                if is_missing(changed["key"]):
                    raise DataError(
                        f"{where} has nothing by which samples are grouped in {self.group_by!r}; give it a value, "
                        "or drop the row."
                    )
                changed["astray"] = False
                if sample.prompt is None and self.prompt_column is None and isinstance(changed["key"], str):
                    changed["prompt"] = changed["key"]
            if self.prompt_column is not None:
                changed["prompt"] = _prompt(
                    _value(sample.record, self.prompt_column, where, first), where, self.prompt_column
                )
                changed["astray"] = False
            if self.reference_column is not None:
                changed["reference"] = _reference(
                    _value(sample.record, self.reference_column, where, first), where, self.reference_column
                )
            if self.verdicts_column is not None:
                given = _value(sample.record, self.verdicts_column, where, first)
                changed["verdicts"] = verdicts_of(given, len(sample.outputs), where, self.verdicts_column)
            yield replace(sample, **changed)

    def _with_prompts(self, samples: Iterable[Sample], file: str) -> Iterator[Sample]:
        """Give samples the prompts of the other file, and refuse those of which nobody knows whose they are."""
        prompts = None if self.prompts is None else _Prompts(self.prompts)
        number = 0
        for number, sample in enumerate(samples):
            if prompts is not None:
                sample = prompts.give(sample, number, file)
            elif sample.astray and number:
                raise DataError(
                    f"{file} is one list of texts without prompts, which may be samples of one prompt, or an output "
                    "for each of several; give --prompts FILE with the one or the several (prompts=), or "
                    "--outputs-column generated_text if they are of several (outputs_column=)."
                )
            yield sample
        if prompts is not None:
            prompts.end(number + 1, file)

    def _row(self, sample: Sample) -> Row | None:
        outputs = [text for text in sample.outputs if text is not None]
        if len(outputs) < len(sample.outputs):
            self.outputs_left_out += len(sample.outputs) - len(outputs)
            self.first_left_out = self.first_left_out or sample.place
            if not outputs:
                self.rows_left_out += 1
                return None
        prompt = sample.prompt
        # Only where all have it: an output may begin with the prompt's words of its own accord.
        if sample.begins_with_prompt and isinstance(prompt, str) and all(text.startswith(prompt) for text in outputs):
            outputs = [text[len(prompt) :] for text in outputs]
        if sample.begins_with_prompt and prompt is None and len(outputs) > 1:
            self.rows_alike += _begin_alike(outputs)
        row: Row = {**sample.columns, "prompt": prompt, "outputs": outputs}
        if sample.verdicts is not None:
            both = zip(sample.outputs, sample.verdicts, strict=True)
            row["verdicts"] = [verdict for text, verdict in both if text is not None]
        for name, value in (("reference", sample.reference), ("dataset", sample.dataset)):
            if value is not None:
                row[name] = value
        return row


class _Prompts:
    """The prompts of another file, by the ids of a batch or by their order."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self.by_id: dict[Any, Any] = {}
        self.in_order: list[Any] = []
        for place, record in Records(path).rows():
            where = f"{self.name}, {place}"
            if isinstance(record, str):
                self.in_order.append(record)
                continue
            row = mapping(record, where)
            if "custom_id" in row:
                self.by_id[row["custom_id"]] = batch_prompt(row, where)
                continue
            column = next((name for name in ("prompt", "instruction", "messages") if name in row), None)
            if column is None:
                raise DataError(f"{where} has no prompt: {columns_of(row)}; call the column with it 'prompt'.")
            self.in_order.append(_prompt(row[column], where, column))
        if not self.by_id and not self.in_order:
            raise DataError(f"{self.name} holds no prompts; give a row for every input.")

    def give(self, sample: Sample, number: int, file: str) -> Sample:
        """Return a sample with its prompt."""
        if sample.input_id is not None and self.by_id:
            if sample.input_id not in self.by_id:
                raise DataError(
                    f"{file}, {sample.place} answers {excerpt(sample.input_id)}, which is not in {self.name}; give the "
                    "input of this batch."
                )
            prompt = self.by_id[sample.input_id]
            # Requests with equal prompts are samples of one input.
            return replace(sample, prompt=prompt, key=sample.key or prompt)
        if not self.in_order:
            raise DataError(f"{self.name} has prompts by custom_id, and {file} has none; give a row for every input.")
        if sample.astray and len(self.in_order) == 1:
            return replace(sample, prompt=self.in_order[0], key=self.in_order[0])
        if number >= len(self.in_order):
            raise DataError(
                f"{self.name} has {len(self.in_order)} prompt(s), and {file} has more rows; give all of them."
            )
        return replace(sample, prompt=self.in_order[number])

    def end(self, rows: int, file: str) -> None:
        """Raise `DataError` where there are more prompts than rows, in which case their order means little."""
        if not self.by_id and 1 < len(self.in_order) != rows:
            raise DataError(
                f"{self.name} has {len(self.in_order)} prompts, and {file} has {rows} row(s); give as many, in order."
            )


def _begin_alike(texts: list[str]) -> bool:
    """Say whether all texts have their first eight characters in common, more than chance would give them."""
    return len(texts[0]) >= 8 and len({text[:8] for text in texts}) == 1


def _tops(columns: Iterable[str | None]) -> list[str]:
    """Return what the columns may be called in a table: the name, or the start of the path."""
    return [name for column in columns if column is not None for name in (column, column.partition(".")[0])]


def _value(record: Any, column: str, where: str, first: Any) -> Any:
    """Return the value of a column, also one within objects by its path.

    Raises:
        DataError: there is none.
    """
    row: Any = mapping(record, where)
    if column in row:
        return row[column]
    for name in column.split("."):
        if not isinstance(row, Mapping) or name not in row:
            raise DataError(f"{where} has no column {column!r}; {columns_of(first)}.")
        row = row[name]
    return row


def _prompt(value: Any, where: str, column: str) -> Any:
    prompt = plain_messages(value)
    if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and isinstance(prompt[0], dict)):
        return prompt
    raise DataError(f"{where} has {excerpt(value)} for the prompt in {column!r}; give text, or a list of messages.")


def _reference(value: Any, where: str, column: str) -> str | None:
    if is_missing(value):
        return None
    [text, *_] = texts_of(value, where, column) or [None]
    return text


def _is_list(cell: Any) -> bool:
    """Say whether the cell of a table is a list of texts in JSON."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return False
    try:
        found = parse_json(cell.encode(), "")
    except DataError:
        return False
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def load_outputs(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    prompt_column: str | None = None,
    outputs_column: str | None = None,
    reference_column: str | None = None,
    group_by: str | None = None,
    prompts: str | os.PathLike[str] | None = None,
    verdicts_column: str | None = None,
) -> list[Row]:
    r"""Return the rows of a file of outputs in our form, an input a row, from whichever tool it comes.

    Args:
        path: see `OutputsFile`, as for all others.
        format: the name of the format, found out by default.
        prompt_column: the column with the prompt.
        outputs_column: the column with the outputs.
        reference_column: the column with the reference.
        group_by: the column whose value samples of one input share.
        prompts: another file, which has the prompts.
        verdicts_column: the column that says which outputs are right.

    Raises:
        ConfigError: there is no such format.
        DataError: the file cannot be read, its format is not known, or a column or text is missing.

    Example:
        >>> import json, pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "samples.jsonl"
        >>> rows = [{"id": 7, "q": "Name a colour.", "a": answer} for answer in ("red", "blue")]
        >>> _ = file.write_text("\n".join(map(json.dumps, rows)))
        >>> load_outputs(file, prompt_column="q", outputs_column="a", group_by="id")
        [{'prompt': 'Name a colour.', 'outputs': ['red', 'blue']}]
    """
    columns = (prompt_column, outputs_column, reference_column, group_by)
    file = OutputsFile(path, format, *columns, prompts, verdicts_column)
    rows = [row for _, row in file]
    for note in file.notes():
        logger.warning(note)
    if not rows:
        raise DataError(f"{os.fspath(path)} holds no rows; write one JSON object a row.")
    return rows
