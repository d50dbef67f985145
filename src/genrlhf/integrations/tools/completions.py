"""The tables of completions that TRL's trainers log, and rows in its shape: a prompt and a completion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError
from genrlhf.integrations.samples import OutputsFormat, Sample, mapping, plain_messages, some_text, texts_of

__all__ = ["TRL"]


def _recognise(record: Any) -> bool:
    return isinstance(record, dict) and {"prompt", "completion"} <= set(record)


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        if row.get("prompt") is None:
            raise DataError(f"{where} has no 'prompt'; add it, or drop the row.")
        prompt = plain_messages(row["prompt"])
        outputs = texts_of(row.get("completion"), where, "completion")
        # Every step has another policy.
        key = [row.get("step"), prompt]
        yield Sample(place, record, outputs, prompt, dataset=some_text(row.get("dataset")), key=key)


TRL = OutputsFormat(
    "trl",
    'the completions that TRL logs: "prompt" and "completion", a row a sample, maybe "step"',
    _recognise,
    _read,
    ("step", "prompt", "completion", "dataset"),
)
