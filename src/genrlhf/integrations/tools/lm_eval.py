"""The samples that lm-evaluation-harness logs (`--log_samples`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, is_messages, mapping, plain_messages, some_text

__all__ = ["LM_EVAL"]


def _recognise(record: Any) -> bool:
    return isinstance(record, dict) and {"doc", "arguments", "resps"} <= set(record)


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    used: list[Any] = []
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        # Every document is there once for every filter, with the same answers.
        used = used or [row.get("filter")]
        if row.get("filter") != used[0]:
            continue
        prompt, asked = _request(row.get("arguments"), where)
        yield Sample(place, record, _answers(row.get("resps"), asked, where), prompt, some_text(row.get("target")))


def _request(arguments: Any, where: str) -> tuple[Any, int]:
    """Return the prompt of a document, and how many requests it made."""
    requests = list(arguments.values()) if isinstance(arguments, dict) else arguments
    if not isinstance(requests, list) or not requests:
        raise DataError(f"{where} has {excerpt(arguments)} in 'arguments'; give a file that lm-eval wrote.")
    given = list(requests[0].values()) if isinstance(requests[0], dict) else requests[0]
    # Who asks for text gives settings of the generation; who asks for likelihoods gives a text, or nothing.
    if not isinstance(given, list) or len(given) < 2 or not isinstance(given[1], dict):
        raise DataError(
            f"{where} holds likelihoods, and no text that a model wrote; give the samples of a task that generates "
            "(output_type: generate_until)."
        )
    return _prompt(given[0]), len(requests)


def _prompt(value: Any) -> Any:
    """Return a prompt; lm-eval writes messages as JSON, in a list of one."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
        try:
            messages = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return plain_messages(messages) if is_messages(messages) else value
    return plain_messages(value)


def _answers(answers: Any, asked: int, where: str) -> list[str | None]:
    if asked == 1 and isinstance(answers, list) and len(answers) == 1:
        [answers] = answers
        if isinstance(answers, list) and all(isinstance(one, str) or one is None for one in answers):
            return answers
    raise DataError(
        f"{where} has {excerpt(answers)} in 'resps' for {asked} request(s); only documents with one request and texts "
        "for answers can be read."
    )


LM_EVAL = OutputsFormat(
    "lm_eval",
    'lm-eval\'s samples_*.jsonl: "doc", "arguments" and "resps", all repeats',
    _recognise,
    _read,
    ("arguments", "resps", "target", "filter"),
)
