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
        version: of what the columns and keys mean.
        others: statements that make further tables where they are missing.

    Raises:
        ConfigError: the file is no such table, or one of another version.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        columns: Mapping[str, str],
        *,
        what: str,
        version: int = 0,
        others: Sequence[str] = (),
    ) -> None:
        self.file = file
        self.name = name
        self.columns = list(columns)
        self.what = what
        file.parent.mkdir(parents=True, exist_ok=True)
        declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        with self.open() as database:
            database.execute("BEGIN IMMEDIATE")
            there = database.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
            found = database.execute("PRAGMA user_version").fetchone()[0]
            known = [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
            tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            # A file may hold several tables of this kind.
            firsts = [database.execute("SELECT name FROM pragma_table_info(?)", (each,)).fetchone() for each in tables]
            others_there = not there and any(first is None or first[0] != "key" for first in firsts)
            if others_there or (there and found == version and known != ["key", *columns]):
                raise ConfigError(f"{file} is no {what}, but a database of something else; move it or name another.")
            if there and found != version:
                raise ConfigError(
                    f"{file} is a {what} of version {found}, and this is version {version}, whose keys say more; move "
                    "it, or name another."
                )
            database.execute(f"CREATE TABLE IF NOT EXISTS {name} (key BLOB PRIMARY KEY, {declared}) WITHOUT ROWID")
            for statement in others:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {version}")

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """Open the file; what is done in the context is on disk when it ends, or not done at all."""
        try:
            database = sqlite3.connect(self.file, timeout=60)
            try:
                with database:
                    yield database
            finally:
                database.close()
        except sqlite3.OperationalError as error:
            raise ConfigError(
                f"{self.file} cannot be used as a {self.what} ({error}); see that the folder can be written to "
                "and has room."
            ) from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.file} is no {self.what} ({error}); move it or name another.") from error

    def read(
        self, keys: Sequence[bytes], *, database: sqlite3.Connection | None = None
    ) -> dict[bytes, tuple[Any, ...]]:
        """Return the rows that are there, without their keys.

        Args:
            keys: of the rows.
            database: that is open already, to read in its transaction.
        """
        if database is None:
            with self.open() as database:
                return self.read(keys, database=database)
        found: dict[bytes, tuple[Any, ...]] = {}
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            part = keys[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(part))
            chosen = f"SELECT key, {', '.join(self.columns)} FROM {self.name} WHERE key IN ({marks})"
            found |= {key: tuple(rest) for key, *rest in database.execute(chosen, part)}
        return found

    def write(self, rows: Iterable[tuple[Any, ...]], *, database: sqlite3.Connection | None = None) -> None:
        """Add rows with their keys in front, all of them or none.

        Args:
            rows: to add, or to put in the place of those of the same key.
            database: that is open already, to write in its transaction.
        """
        if database is None:
            with self.open() as database:
                return self.write(rows, database=database)
        marks = ", ".join("?" * (1 + len(self.columns)))
        database.executemany(f"INSERT OR REPLACE INTO {self.name} VALUES ({marks})", rows)
        return None
