"""AlpacaEval's `model_outputs.json`, and instruction data in Alpaca's shape: an output for every instruction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import OutputsFormat, Sample, mapping, some_text, texts_of

__all__ = ["ALPACA_EVAL"]


def _recognise(record: Any) -> bool:
    return isinstance(record, dict) and {"instruction", "output"} <= set(record)


def _read(records: Iterable[tuple[str, Any]], file: str) -> Iterator[Sample]:
    generator = None
    for place, record in records:
        where = f"{file}, {place}"
        row = mapping(record, where)
        if not isinstance(row.get("instruction"), str):
            raise DataError(f"{where} has {excerpt(row.get('instruction'))} in 'instruction'; give text.")
        named = some_text(row.get("generator"))
        generator = generator or named
        if named != generator:
            raise DataError(
                f"{where} is of {excerpt(named)}, and rows before it of {excerpt(generator)}; give the outputs of one "
                "model a file."
            )
        # The text behind an instruction in Alpaca's data, which the model was shown with it.
        given = some_text(row.get("input"))
        prompt = row["instruction"] if given is None else f"{row['instruction']}\n\n{given}"
        outputs = texts_of(row.get("output"), where, "output")
        columns = {} if generator is None else {"generator": generator}
        yield Sample(place, record, outputs, prompt, dataset=some_text(row.get("dataset")), columns=columns)


ALPACA_EVAL = OutputsFormat(
    "alpaca_eval",
    'AlpacaEval\'s model_outputs.json: "instruction" and "output", maybe "generator" and "dataset"',
    _recognise,
    _read,
    ("instruction", "input", "output", "generator", "dataset"),
)
