"""The logs of Inspect: the epochs of a sample are the outputs of one input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, mapping, message_text, plain_messages, some_text

__all__ = ["INSPECT"]


def _recognise(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    return {"id", "epoch", "input", "output"} <= set(record) or {"eval", "status"} <= set(record)


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        sample = mapping(record, where)
        if "eval" in sample and "input" not in sample:
            raise DataError(f"{file} is an Inspect log without samples; run the evaluation with --log-samples.")
        if "input" not in sample or "output" not in sample:
            raise DataError(f"{where} has no 'input' and 'output'; there are {', '.join(map(str, sample))}.")
        yield Sample(
            place,
            record,
            _outputs(sample["output"], where),
            plain_messages(sample["input"]),
            _target(sample.get("target")),
            key=sample.get("id"),
        )


def _outputs(output: Any, where: str) -> list[str | None]:
    """Return the texts of all choices; None where the sample came to an end before there was one."""
    if not isinstance(output, Mapping) or not isinstance(output.get("choices", []), list):
        raise DataError(f"{where} has {excerpt(output)} for 'output'; give a log that Inspect wrote.")
    texts: list[str | None] = []
    for choice in output.get("choices") or []:
        message = choice.get("message") if isinstance(choice, dict) else None
        texts.append(message_text(message.get("content")) if isinstance(message, dict) else None)
    return texts or [some_text(output.get("completion"))]


def _target(target: Any) -> str | None:
    return some_text(target[0]) if isinstance(target, list) and target else some_text(target)


INSPECT = OutputsFormat(
    "inspect", "logs of Inspect, .eval and .json: the epochs and choices of every sample", _recognise, _read
)
