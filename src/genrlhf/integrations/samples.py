"""What a reader finds in one record: a prompt and outputs; and the texts in what tools write for them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrlhf.errors import DataError, excerpt

__all__ = [
    "OutputsFormat",
    "Sample",
    "is_messages",
    "is_missing",
    "mapping",
    "message_text",
    "plain_messages",
    "some_text",
    "texts_of",
]


@dataclass(frozen=True)
class Sample:
    """Outputs for a prompt, as one record of a file has them.

    Attributes:
        place: where the record stands in its file.
        record: all of it.
        outputs: texts; None for each that there is none of (a request that failed, an answer without text).
        prompt: text, or a list of messages; None where the record does not have it.
        reference: what the prompt's answer should be, where the record says.
        dataset: the name of its test set, where the record says.
        key: samples with the same key make one row; each is a row of its own where it is None.
        input_id: what joins the sample to its prompt in another file; None where their order does.
        begins_with_prompt: whether the outputs may have the prompt in front of them.
        astray: whether neither record nor order say which prompt it is of, where there are several samples.
        columns: what else the row is to have.
        verdicts: whether each output is right; None where nobody asked.
    """

    place: str
    record: Any
    outputs: Sequence[str | None]
    prompt: Any = None
    reference: str | None = None
    dataset: str | None = None
    key: Any = None
    input_id: Any = None
    begins_with_prompt: bool = False
    astray: bool = False
    columns: Mapping[str, Any] = field(default_factory=dict)
    verdicts: Sequence[bool] | None = None


def is_missing(value: Any) -> bool:
    """Say whether a value stands for none: null, or the NaN of data frames."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_messages(value: Any) -> bool:
    """Say whether a value is a list of chat messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "role" in one for one in value)


def message_text(content: Any) -> str | None:
    """Return the text of a message's content, which may come in parts; None where there is none, as of a tool call."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [
        part if isinstance(part, str) else part.get("text")
        for part in content
        # Thinking, images and tool calls are no output.
        if isinstance(part, str) or (isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"))
    ]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if texts else None


def texts_of(value: Any, where: str, column: str) -> list[str | None]:
    """Return the outputs in a cell: a text, messages whose last one is the output, or a list of such.

    Raises:
        DataError: it is something else, such as a number.
    """
    if is_messages(value) or not isinstance(value, list):
        return [_text_of(value, where, column)]
    return [_text_of(one, where, column) for one in value]


def _text_of(value: Any, where: str, column: str) -> str | None:
    if isinstance(value, str):
        return _last_of_written(value, where, column) if _WRITTEN.match(value) else value
    if is_missing(value):
        return None
    if is_messages(value):
        return message_text(value[-1].get("content"))
    raise DataError(
        f"{where} has {excerpt(value)} in {column!r}, which is no text; give text, or a list of texts or messages."
    )


# Tables that data frames write have messages as text: in JSON, or as Python shows them.
_WRITTEN = re.compile(r"""\[\{['"](?:role|content)['"]:""")


def _last_of_written(text: str, where: str, column: str) -> str | None:
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError):
        messages = None
    if is_messages(messages):
        return message_text(messages[-1].get("content"))
    raise DataError(
        f"{where} has {excerpt(text)} in {column!r}: messages as Python shows them, which is no form for data; write "
        "the table as Parquet or JSON lines."
    )


@dataclass(frozen=True)
class OutputsFormat:
    """How what a tool writes is read.

    Attributes:
        name: as the command line takes it.
        writes: what it is, for people.
        recognise: says of a file's first record whether it is one of the tool's.
        read: yields samples from the places and contents of records, given the name of the file for messages.
        columns: of a table, those that are read; None for all.
    """

    name: str
    writes: str
    recognise: Callable[[Any], bool]
    read: Callable[[Iterable[tuple[str, Any]], str], Iterator[Sample]]
    columns: tuple[str, ...] | None = None


def mapping(record: Any, where: str) -> Mapping[str, Any]:
    """Return a record that is an object.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(record, dict):
        raise DataError(
            f'{where} is {excerpt(record)}, which is no JSON object; write a row as {{"column": value, …}}.'
        )
    return record


def some_text(value: Any) -> str | None:
    """Return a value that is a text with something in it, None for all others: what a row may do without."""
    return value if isinstance(value, str) and value else None


def plain_messages(value: Any) -> Any:
    """Return a prompt with no more of its messages than role and text; a text as it is."""
    if not is_messages(value):
        return value
    return [{"role": one["role"], "content": message_text(one.get("content")) or ""} for one in value]
