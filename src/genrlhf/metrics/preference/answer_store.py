"""Judges' answers on disk, so that none is paid for twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError

__all__ = ["AnswerStore", "StoredAnswer"]

_ASKED_AT_ONCE = 500
"""SQLite takes a limited number of values in one question."""


@dataclass(frozen=True)
class StoredAnswer:
    """An answer and what it took.

    Attributes:
        text: what the model answered.
        prompt_tokens: that the endpoint counted.
        completion_tokens: that it counted.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int


class AnswerStore:
    """Answers in a file of SQLite, keyed by all that an answer depends on: model, settings and conversation.

    The conversation holds template, instruction and both outputs in their order, so that another of any of these is
    another key. An answer is on disk before the next is looked at, so that a kill loses none that has come. Calls that
    failed leave nothing, and are made again by the next run.

    Args:
        file: made where it is missing, with its folder.

    Raises:
        ConfigError: the file is no such store.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file).expanduser()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, "
                "prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL) WITHOUT ROWID"
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.file, timeout=60)
        try:
            with database:
                yield database
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.file} is no store of answers ({error}); move it or name another.") from error
        finally:
            database.close()

    @staticmethod
    def key(settings: Mapping[str, Any], conversation: Sequence[Mapping[str, str]]) -> bytes:
        """Return what tells a call from all others."""
        content = json.dumps([dict(settings), list(map(dict, conversation))], sort_keys=True)
        return hashlib.sha256(content.encode()).digest()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        """Return the answers that are there."""
        found: dict[bytes, StoredAnswer] = {}
        with self._open() as database:
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                part = keys[start : start + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                rows = database.execute(
                    f"SELECT key, text, prompt_tokens, completion_tokens FROM answers WHERE key IN ({marks})", part
                )
                found |= {key: StoredAnswer(*rest) for key, *rest in rows}
        return found

    def write(self, key: bytes, model: str, answer: StoredAnswer) -> None:
        """Keep an answer; on return it is on disk."""
        # Half of a character cannot be kept as text.
        text = answer.text.encode("utf-8", "replace").decode("utf-8")
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                (key, model, text, answer.prompt_tokens, answer.completion_tokens),
            )

    def total(self) -> tuple[int, int, int]:
        """Return the number of answers, and the sums of their prompt and completion tokens."""
        with self._open() as database:
            row = database.execute(
                "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0) FROM answers"
            ).fetchone()
        return int(row[0]), int(row[1]), int(row[2])
