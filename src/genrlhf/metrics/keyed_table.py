"""Rows on disk, by a key made of their content."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError

__all__ = ["KeyedTable"]

_ASKED_AT_ONCE = 500
"""SQLite takes a limited number of values in one question."""


class KeyedTable:
    """A table in a file of SQLite, whose rows have 32 bytes as their key.

    Args:
        file: made where it is missing, with its folder.
        name: of the table.
        columns: names and SQL types of the columns beside the key.
        what: the file is, for messages.

    Raises:
        ConfigError: the file is no such table.
    """

    def __init__(self, file: Path, name: str, columns: Mapping[str, str], *, what: str) -> None:
        self.file = file
        self.name = name
        self.columns = list(columns)
        self.what = what
        file.parent.mkdir(parents=True, exist_ok=True)
        declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        with self.open() as database:
            database.execute(f"CREATE TABLE IF NOT EXISTS {name} (key BLOB PRIMARY KEY, {declared}) WITHOUT ROWID")

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Open the file; what is done in the context is on disk when it ends, or not done at all."""
        database = sqlite3.connect(self.file, timeout=60)
        try:
            with database:
                yield database
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.file} is no {self.what} ({error}); move it or name another.") from error
        finally:
            database.close()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Any, ...]]:
        """Return the rows that are there, without their keys."""
        found: dict[bytes, tuple[Any, ...]] = {}
        with self.open() as database:
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                part = keys[start : start + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                chosen = f"SELECT key, {', '.join(self.columns)} FROM {self.name} WHERE key IN ({marks})"
                found |= {key: tuple(rest) for key, *rest in database.execute(chosen, part)}
        return found

    def write(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add rows with their keys in front, all of them or none."""
        marks = ", ".join("?" * (1 + len(self.columns)))
        with self.open() as database:
            database.executemany(f"INSERT OR REPLACE INTO {self.name} VALUES ({marks})", rows)
