"""vLLM's `RequestOutput` objects as dictionaries, such as `dataclasses.asdict` or `vars` make of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, is_missing, mapping, some_text

__all__ = ["VLLM"]


def _recognise(record: Any) -> bool:
    outputs = record.get("outputs") if isinstance(record, dict) else None
    return isinstance(outputs, list) and bool(outputs) and isinstance(outputs[0], dict) and "text" in outputs[0]


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        outputs = row.get("outputs")
        if not isinstance(outputs, list):
            raise DataError(f"{where} has {excerpt(outputs)} for 'outputs'; give a list of objects with 'text'.")
        yield Sample(place, record, [_text(one, where) for one in outputs], some_text(row.get("prompt")))


def _text(output: Any, where: str) -> str | None:
    text = mapping(output, where).get("text")
    if isinstance(text, str) or is_missing(text):
        return text if isinstance(text, str) else None
    raise DataError(f"{where} has {excerpt(text)} for the 'text' of an output; give text.")


VLLM = OutputsFormat(
    "vllm",
    'vLLM\'s RequestOutput as JSON: "prompt" and "outputs", objects with "text"',
    _recognise,
    _read,
    ("prompt", "outputs"),
)
