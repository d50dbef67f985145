"""NoveltyBench's `generations.jsonl`, and its later files, which have the same columns and more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, mapping, some_text

__all__ = ["NOVELTYBENCH"]


def _recognise(record: Any) -> bool:
    return isinstance(record, dict) and {"prompt", "generations"} <= set(record)


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        outputs = row.get("generations")
        if not isinstance(outputs, list) or not all(isinstance(text, str) or text is None for text in outputs):
            raise DataError(f"{where} has {excerpt(outputs)} for 'generations'; give a list of texts.")
        model = some_text(row.get("model"))
        columns = {} if model is None else {"generator": model}
        yield Sample(place, record, outputs, row.get("prompt"), columns=columns)


NOVELTYBENCH = OutputsFormat(
    "noveltybench",
    'NoveltyBench\'s generations.jsonl: "prompt" and "generations"',
    _recognise,
    _read,
    ("prompt", "generations", "model"),
)
