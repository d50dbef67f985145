"""Judges' answers on disk, so that none is paid for twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrlhf.metrics.checks import whole_characters
from genrlhf.metrics.keyed_table import KeyedTable
from genrlhf.metrics.preference.judging.conversation import Conversation

__all__ = ["AnswerStore", "ModelAnswer"]


@dataclass(frozen=True)
class ModelAnswer:
    """An answer and what it took.

    Attributes:
        text: what the model answered.
        prompt_tokens: that the endpoint counted.
        completion_tokens: that it counted.
        top_logprobs: of every position of the answer, the likeliest tokens and their log-probabilities; None where the
            endpoint gave none.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    top_logprobs: list[dict[str, float]] | None = None


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
        columns = {
            "model": "TEXT NOT NULL",
            "text": "TEXT NOT NULL",
            "prompt_tokens": "INTEGER NOT NULL",
            "completion_tokens": "INTEGER NOT NULL",
            "top_logprobs": "TEXT",
        }
        self._table = KeyedTable(Path(file).expanduser(), "answers", columns, what="store of answers")

    @staticmethod
    def key(settings: Mapping[str, Any], conversation: Sequence[Mapping[str, str]]) -> bytes:
        """Return what tells a call from all others; the random mark that fences a conversation does not."""
        asked = conversation.without_mark() if isinstance(conversation, Conversation) else conversation
        content = json.dumps([dict(settings), list(map(dict, asked))], sort_keys=True)
        return hashlib.sha256(content.encode()).digest()

    def read(self, keys: Sequence[bytes]) -> dict[bytes, ModelAnswer]:
        """Return the answers that are there."""
        return {
            key: ModelAnswer(text, prompt_tokens, completion_tokens, None if logprobs is None else json.loads(logprobs))
            for key, (_, text, prompt_tokens, completion_tokens, logprobs) in self._table.read(keys).items()
        }

    def write(self, key: bytes, model: str, answer: ModelAnswer) -> None:
        """Keep an answer; on return it is on disk."""
        logprobs = None if answer.top_logprobs is None else json.dumps(answer.top_logprobs)
        text = whole_characters(answer.text)
        self._table.write([(key, model, text, answer.prompt_tokens, answer.completion_tokens, logprobs)])

    def total(self) -> tuple[int, int, int]:
        """Return the number of answers, and the sums of their prompt and completion tokens."""
        with self._table.open() as database:
            row = database.execute(
                "SELECT COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0) FROM answers"
            ).fetchone()
        return int(row[0]), int(row[1]), int(row[2])
