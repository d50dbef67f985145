"""Samples of the same input, wherever they stand in a file, made into one row, with little in memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.samples import Sample

__all__ = ["grouped"]

_IN_MEMORY = 2**24


def grouped(samples: Iterable[Sample], file: str) -> Iterator[Sample]:
    """Yield one sample for every key, with the outputs of all samples that have it, in the order of their first ones.

    Prompt, reference and whatever else there is are those of the first. Texts wait in a temporary file: in memory stay
    a digest for every key, and a number for every sample.

    Args:
        samples: with keys that JSON can hold.
        file: what their file is called, for messages.

    Raises:
        DataError: a key is None, and so would group all rows without one.
    """
    places: dict[bytes, array[int]] = {}
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as store:
        end = 0
        for sample in samples:
            if sample.key is None:
                raise DataError(
                    f"{file}, {sample.place} has nothing by which samples are grouped; add it, or drop the row."
                )
            at = places.setdefault(_digest(sample.key), array("q"))
            more = {"outputs": list(sample.outputs), "verdicts": sample.verdicts}
            line = json.dumps(more if at else _as_json(sample, file)).encode() + b"\n"
            store.write(line)
            at.append(end)
            end += len(line)
        here = end
        for at in places.values():
            lines = []
            for offset in at:
                # Samples of an input mostly follow each other, and going to where one is already is not free.
                if offset != here:
                    store.seek(offset)
                lines.append(store.readline())
                here = offset + len(lines[-1])
            first = json.loads(lines[0])
            parts = [first, *map(json.loads, lines[1:])]
            outputs = [text for part in parts for text in part["outputs"]]
            # Of all samples or of none.
            verdicts = [verdict for part in parts for verdict in part["verdicts"] or ()] or None
            yield Sample(record=None, **{**first, "outputs": outputs, "verdicts": verdicts})


def _as_json(sample: Sample, file: str) -> dict[str, Any]:
    kept = {
        "place": sample.place,
        "outputs": list(sample.outputs),
        "prompt": sample.prompt,
        "reference": sample.reference,
        "dataset": sample.dataset,
        "input_id": sample.input_id,
        "begins_with_prompt": sample.begins_with_prompt,
        "columns": dict(sample.columns),
        "verdicts": sample.verdicts,
    }
    try:
        json.dumps(kept)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{file}, {sample.place} holds {excerpt(sample.prompt)}, which is no JSON ({error})."
        ) from error
    return kept


def _digest(key: Any) -> bytes:
    said = json.dumps(key, sort_keys=True, default=str)
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()
