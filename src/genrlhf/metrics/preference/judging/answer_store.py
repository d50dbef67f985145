"""Judges' answers on disk, so that none is paid for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError
from genrlhf.metrics.checks import whole_characters
from genrlhf.metrics.keyed_table import KeyedTable
from genrlhf.metrics.preference.judging.claims import CLAIMS_TABLE, Claims
from genrlhf.metrics.preference.judging.conversation import Conversation

__all__ = ["AnswerStore", "Change", "ModelAnswer", "NoAnswer"]

_VERSION = 2
_BILLS_TABLE = """CREATE TABLE IF NOT EXISTS bills (
    number INTEGER PRIMARY KEY, key BLOB, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL
)"""


@dataclass(frozen=True)
class ModelAnswer:
    """An answer and what it took.

    Attributes:
        text: what the model answered.
        prompt_tokens: that the endpoint counted.
        completion_tokens: that it counted.
        top_logprobs: of every position of the answer, the likeliest tokens and their log-probabilities; None where the
            endpoint gave none.
        ended: whether the model ended it; False where it was cut off at its longest.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    top_logprobs: list[dict[str, float]] | None = None
    ended: bool = True


@dataclass(frozen=True)
class NoAnswer:
    """Why there is no answer.

    Attributes:
        reason: in one line.
    """

    reason: str


@dataclass(frozen=True)
class Change:
    """What is to be written about one key.

    Attributes:
        key: of the call.
        model: that answered.
        answer: to keep.
        bill: prompt and completion tokens of what came and is not kept.
        release: take the claim back.
    """

    key: bytes
    model: str = ""
    answer: ModelAnswer | None = None
    bill: tuple[int, int] | None = None
    release: bool = True


class AnswerStore:
    """Answers in a file of SQLite, keyed by all that an answer depends on: endpoint, model, settings and conversation.

    The conversation holds template, instruction and both outputs in their order, so that another of any of these is
    another key. An answer is on disk before the next is looked at, so that a kill loses none that has come. Calls that
    failed leave nothing, and are made again by the next run; of those that were billed without an answer, the bill is
    kept. Several processes may use one file at a time: what one of them has claimed the others leave to it.

    Args:
        file: made where it is missing, with its folder.

    Raises:
        ConfigError: the file is no such store, or one of an older version, which does not say who answered.
    """

    def __init__(self, file: str | Path) -> None:
        columns = {
            "model": "TEXT NOT NULL",
            "text": "TEXT NOT NULL",
            "prompt_tokens": "INTEGER NOT NULL",
            "completion_tokens": "INTEGER NOT NULL",
            "top_logprobs": "TEXT",
            "ended": "INTEGER NOT NULL",
        }
        self._table = KeyedTable(
            Path(file).expanduser(),
            "answers",
            columns,
            what="store of answers",
            version=_VERSION,
            others=(_BILLS_TABLE, CLAIMS_TABLE),
        )
        self._claims = Claims()

    @staticmethod
    def key(settings: Mapping[str, Any], conversation: Sequence[Mapping[str, str]], endpoint: str = "") -> bytes:
        """Return what tells a call from all others.

        Args:
            settings: of the request, `model` among them.
            conversation: whose random mark, if it is fenced by one, is no part of the key.
            endpoint: where it goes.
        """
        asked = conversation.without_mark() if isinstance(conversation, Conversation) else conversation
        content = json.dumps([endpoint, dict(settings), list(map(dict, asked))], sort_keys=True)
        return hashlib.sha256(content.encode()).digest()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, ModelAnswer]:
        """Return the answers that are there."""
        return self._answers(self._table.read(keys))

    def write(self, key: bytes, model: str, answer: ModelAnswer) -> None:
        """Keep an answer, and take a claim to it back; on return it is on disk."""
        self.apply([Change(key, model, answer)])

    def bill(self, key: bytes, prompt_tokens: int, completion_tokens: int) -> None:
        """Keep what was billed without an answer to keep."""
        self.apply([Change(key, bill=(prompt_tokens, completion_tokens), release=False)])

    def apply(self, changes: Sequence[Change]) -> None:
        """Write changes, all of them or none; on return they are on disk."""
        rows = [_row(change.key, change.model, change.answer) for change in changes if change.answer is not None]
        bills = [(change.key, *change.bill) for change in changes if change.bill is not None]
        with self._table.open() as database:
            self._table.write(rows, database=database)
            database.executemany("INSERT INTO bills VALUES (NULL, ?, ?, ?)", bills)
            self._claims.drop(database, [change.key for change in changes if change.release])

    def claim(self, keys: Sequence[bytes]) -> tuple[dict[bytes, ModelAnswer], list[bytes]]:
        """Return the answers that have come, and the keys that are now ours to ask; the rest is asked elsewhere."""
        with self._table.open() as database:
            database.execute("BEGIN IMMEDIATE")
            found = self._table.read(keys, database=database)
            ours = self._claims.take(database, [key for key in keys if key not in found])
        return self._answers(found), ours

    def _answers(self, rows: Mapping[bytes, tuple[Any, ...]]) -> dict[bytes, ModelAnswer]:
        try:
            return {key: _answer(*row) for key, row in rows.items()}
        except (ValueError, TypeError, RecursionError):
            raise ConfigError(
                f"{self._table.file} is a damaged {self._table.what}: an answer in it is none; move it or name another."
            ) from None

    def renew(self) -> float:
        """Renew all claims of this store, and return after how many seconds to do so again."""
        with self._table.open() as database:
            self._claims.renew(database)
        return self._claims.renew_every

    def total(self) -> tuple[int, int, int]:
        """Return the number of answers, and all prompt and completion tokens on the bill."""
        sums = "COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0)"
        with self._table.open() as database:
            answers = database.execute(f"SELECT {sums} FROM answers").fetchone()
            bills = database.execute(f"SELECT {sums} FROM bills").fetchone()
        return int(answers[0]), int(answers[1] + bills[1]), int(answers[2] + bills[2])


def _answer(
    _: str, text: str, prompt_tokens: int, completion_tokens: int, logprobs: str | None, ended: int
) -> ModelAnswer:
    top_logprobs = None if logprobs is None else json.loads(logprobs)
    texts = isinstance(text, str) and isinstance(prompt_tokens, int) and isinstance(completion_tokens, int)
    if not texts or not all(isinstance(one, dict) for one in top_logprobs or []):
        raise ValueError
    return ModelAnswer(text, prompt_tokens, completion_tokens, top_logprobs, bool(ended))


def _row(key: bytes, model: str, answer: ModelAnswer) -> tuple[Any, ...]:
    logprobs = None if answer.top_logprobs is None else json.dumps(answer.top_logprobs)
    texts = whole_characters(model), whole_characters(answer.text)
    return (key, *texts, answer.prompt_tokens, answer.completion_tokens, logprobs, answer.ended)
