"""What transformers' text generation pipelines return: lists of `generated_text`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, is_messages, mapping, plain_messages, texts_of

__all__ = ["PIPELINES"]


def _recognise(record: Any) -> bool:
    if isinstance(record, list):
        return bool(record) and isinstance(record[0], dict) and "generated_text" in record[0]
    return isinstance(record, dict) and "generated_text" in record


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    stream = iter(records)
    for place, record in stream:
        if isinstance(record, dict):
            # A list of lists is one list a prompt.
            yield from _flat(itertools.chain([(place, record)], stream), file)
        else:
            yield _of_one_prompt(place, record, file)


def _of_one_prompt(place: str, record: Any, file: str) -> Sample:
    where = f"{file}, {place}"
    if not isinstance(record, list):
        raise DataError(f"{where} is {excerpt(record)}; give a list of objects with 'generated_text'.")
    several = [mapping(one, where) for one in record]
    texts = [_generated(one, where) for one in several]
    outputs = [output for text in texts for output in texts_of(text, where, "generated_text")]
    prompts = [plain_messages(text[:-1]) for text in texts if is_messages(text)]
    prompt = prompts[0] if prompts else several[0].get("prompt") if several else None
    return Sample(place, record, outputs, prompt, begins_with_prompt=not prompts)


def _flat(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        text = _generated(row, where)
        chat = is_messages(text)
        prompt = plain_messages(text[:-1]) if chat else row.get("prompt")
        outputs = texts_of(text, where, "generated_text")
        # Without a prompt, these may be samples of one prompt, or an output for each of several.
        yield Sample(
            place, record, outputs, prompt, key=prompt, begins_with_prompt=not chat, astray=not chat and prompt is None
        )


def _generated(row: Any, where: str) -> Any:
    if "generated_text" not in row:
        raise DataError(
            f"{where} has no 'generated_text', as rows before it have; there are {', '.join(map(str, row))}."
        )
    return row["generated_text"]


PIPELINES = OutputsFormat(
    "transformers",
    'the text generation pipeline of transformers: lists of "generated_text", a list a prompt',
    _recognise,
    _read,
)
