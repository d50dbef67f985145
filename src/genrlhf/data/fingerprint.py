"""What tells the rows of one dataset from those of another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from datasets import Dataset

__all__ = ["dataset_fingerprint"]

ROWS = 100_000
BYTES = 2**28
CHUNK = 1_000


def dataset_fingerprint(dataset: Any) -> dict[str, str] | None:
    """Return a digest of the contents of a dataset, whatever its path or cache, and a name for messages.

    Every row counts up to 100,000 rows or 256 MiB; of larger datasets the number of rows and evenly spaced ones. A
    dataset that can only be iterated over is not read: it counts by its type.

    Args:
        dataset: rows, or None.
    """
    if dataset is None:
        return None
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        kind = type(dataset).__name__
        return {"name": f"{kind}, whose rows are not compared", "digest": kind}
    digest = hashlib.sha256(f"{len(dataset)}:".encode())
    for chunk in _chunks(dataset):
        digest.update(json.dumps(chunk, sort_keys=True, default=_as_json).encode())
    columns = f" of {', '.join(sorted(dataset.column_names))}" if isinstance(dataset, Dataset) else ""
    return {"name": f"{len(dataset)} rows{columns}", "digest": digest.hexdigest()[:16]}


def _chunks(dataset: Any) -> Iterator[Any]:
    """Yield some rows at a time, as JSON has them."""
    total = len(dataset)
    if not isinstance(dataset, Dataset):
        step = max(1, -(-total // ROWS))
        yield from (dataset[row] for row in range(0, total, step))
        return
    mean_bytes = dataset.data.nbytes / max(1, len(dataset.data))
    limit = min(ROWS, max(CHUNK, int(BYTES / max(1.0, mean_bytes))))
    # As Arrow holds them: images and the like are not decoded.
    rows = dataset.with_format("arrow")
    if total > limit:
        rows = rows.select(range(0, total, -(-total // limit)))
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK].to_pydict()


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return value.tolist() if hasattr(value, "tolist") else str(value)
