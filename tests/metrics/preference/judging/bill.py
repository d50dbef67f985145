"""What an endpoint has billed, beside what the store has written down."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from genrlhf.metrics.preference import AnswerStore
from genrlhf.metrics.preference.judging.conversation import Conversation
from tests.metrics.preference.judging.chat_server import ANSWER_TOKENS, ChatServer, pair_of, tokens_of
from tests.metrics.preference.judging.judge_run import endpoint
from tests.metrics.preference.judging.test_endpoint import conversations


@dataclass
class Bill:
    """How a store stands beside the server's book.

    Attributes:
        answers: in the store.
        prompt_tokens_off: of the store's, beside those of what it has, which are the server's count.
        completion_tokens_off: of these.
        not_written_down: what the server billed that nobody was there to write down, because a process was killed.
    """

    answers: int
    prompt_tokens_off: int
    completion_tokens_off: int
    not_written_down: int


def bill(server: ChatServer, folder: Path, n: int) -> Bill:
    """Return how the store of `judge_run` for n pairs stands beside the server's book."""
    asked = conversations(n)
    key = endpoint(server.url, folder).key
    # A judge draws marks, a test that asks the endpoint itself does not.
    keys = {key(messages): messages for messages in asked}
    keys |= {key(Conversation(messages, mark="0" * 8)): messages for messages in asked}
    with closing(sqlite3.connect(folder / "s.sqlite")) as database:
        rows = database.execute("SELECT key, COUNT(*) FROM bills GROUP BY key").fetchall()
    unread = dict(rows)
    answers, prompt_tokens, completion_tokens = AnswerStore(folder / "s.sqlite").total()
    # Nothing is written down that was not billed.
    assert all(count <= server.unread[pair_of(keys[key])] for key, count in unread.items())
    own_prompts = sum(map(tokens_of, asked)) + sum(count * tokens_of(keys[key]) for key, count in unread.items())
    own_answers = ANSWER_TOKENS * (n + sum(unread.values()))
    billed = sum(server.answered.values()) + sum(server.unread.values())
    return Bill(
        answers,
        prompt_tokens - own_prompts,
        completion_tokens - own_answers,
        billed - answers - sum(unread.values()),
    )
