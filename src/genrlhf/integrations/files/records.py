"""The records of a file, whatever kind it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from genrlhf.errors import DataError
from genrlhf.integrations.files.archives import archive_records
from genrlhf.integrations.files.json_stream import json_records, read_head
from genrlhf.integrations.files.source import Source
from genrlhf.integrations.files.tables import csv_records, parquet_records

__all__ = ["Records"]


class Records:
    """What a file holds: dictionaries, or lists where the file has those, as they come.

    Args:
        path: JSON, JSON lines, CSV or TSV, all of them plain or gzipped, in UTF-8 or UTF-16; Parquet; an archive that
            Inspect wrote; `-` for the standard input.

    Attributes:
        name: what the file is called.
        kind: what it is, see `Source.kind`.

    Raises:
        DataError: there is no such file, or it is nothing that can be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._source = Source(path)
        self.name = self._source.name
        self.kind = self._source.kind()

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
        """Yield the place ("line 3", "row 0") and content of every record, from the first on, at every call.

        Args:
            columns: what is wanted, where more would cost time (Parquet); all by default.

        Raises:
            DataError: something cannot be read, or is too large.
        """
        if self.kind == "json":
            with self._source.unpacked() as stream:
                head = read_head(stream)
            with self._source.unpacked() as stream:
                yield from json_records(stream, head, self.name)
        elif self.kind == "table":
            with self._source.unpacked() as stream:
                yield from csv_records(stream, self.name)
        elif self.kind == "parquet":
            with self._source.raw() as handle:
                yield from parquet_records(handle, self.name, columns)
        elif self.kind == "zip":
            with self._source.raw() as handle:
                yield from archive_records(handle, self.name)

    def first(self) -> Any:
        """Return the first record.

        Raises:
            DataError: there is none, or it is not an object or list.
        """
        for _, record in self.rows():
            return record
        raise DataError(f"{self.name} holds no rows; write one JSON object a row.")
