"""The details that lighteval saves (`--save-details`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, mapping, some_text

__all__ = ["LIGHTEVAL"]


def _recognise(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    now = isinstance(record.get("doc"), dict) and isinstance(record.get("model_response"), dict)
    return now or {"full_prompt", "predictions"} <= set(record)


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        if "model_response" in row:
            doc, response = mapping(row.get("doc"), where), mapping(row["model_response"], where)
            prompt, outputs, reference = doc.get("query"), response.get("text"), _gold(doc)
            dataset = some_text(doc.get("task_name"))
        else:
            # Until version 0.9.
            prompt, outputs, dataset = row.get("full_prompt"), row.get("predictions"), None
            reference = _gold(row) or _first(row.get("gold"))
            if isinstance(outputs, list) and len(outputs) == 1 and isinstance(outputs[0], list):
                [outputs] = outputs
        if not isinstance(outputs, list) or not all(isinstance(text, str) or text is None for text in outputs):
            raise DataError(f"{where} has {excerpt(outputs)} for what the model wrote; give a list of texts.")
        if not outputs:
            raise DataError(f"{where} holds no text that a model wrote; give the details of a task that generates.")
        yield Sample(place, record, outputs, prompt, reference, dataset)


def _first(value: Any) -> str | None:
    return some_text(value[0]) if isinstance(value, list) and value else some_text(value)


def _gold(doc: Mapping[str, Any]) -> str | None:
    """Return the first right answer."""
    choices, index = doc.get("choices"), doc.get("gold_index")
    index = index[0] if isinstance(index, list) and index else index
    if isinstance(choices, list) and isinstance(index, int) and 0 <= index < len(choices):
        return some_text(choices[index])
    return None


LIGHTEVAL = OutputsFormat(
    "lighteval",
    'lighteval\'s details: "doc" and "model_response", all samples',
    _recognise,
    _read,
    ("doc", "model_response", "full_prompt", "predictions", "choices", "gold_index", "gold"),
)
