"""Rows as genrlhf writes them: an input a row, with all of its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, mapping
from genrlhf.json_text import parse_json

__all__ = ["GENRLHF"]


def _recognise(record: Any) -> bool:
    if not isinstance(record, dict) or "outputs" not in record:
        return False
    outputs = record["outputs"]
    return not (isinstance(outputs, list) and outputs and isinstance(outputs[0], dict))


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        row = dict(mapping(record, where))
        outputs = row.pop("outputs", None)
        if isinstance(outputs, str) and outputs.lstrip().startswith("["):
            # The cell of a table.
            outputs = parse_json(outputs.encode("utf-8", "surrogatepass"), f'{where}, "outputs",')
        if not isinstance(outputs, list) or not all(isinstance(text, str) for text in outputs):
            raise DataError(f'{where} has {excerpt(outputs)} for "outputs"; give a list of strings.')
        prompt, reference, dataset = (row.pop(name, None) for name in ("prompt", "reference", "dataset"))
        yield Sample(place, record, outputs, prompt, reference, dataset, columns=row)


GENRLHF = OutputsFormat("genrlhf", '"prompt" and "outputs", a list of texts', _recognise, _read)
