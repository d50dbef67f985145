"""What the tests kill: `python -m tests.metrics.preference.judging.judge_run URL FOLDER N` judges N pairs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from genrlhf.metrics.preference import AnswerStore, ChatEndpoint, PromptJudge
from genrlhf.openai_client import session
from tests.metrics.preference.judging.chat_server import verdict
from tests.metrics.preference.judging.test_endpoint import conversations, pairs

CONCURRENCY = 8
TIMEOUT = 3.0
"""Seconds: a busy machine must not take longer over an answer, which would then be billed and not read."""


def endpoint(url: str, folder: Path) -> ChatEndpoint:
    """The endpoint that is asked."""
    store = AnswerStore(folder / "s.sqlite")
    return ChatEndpoint("judge", base_url=url, store=store, concurrency=CONCURRENCY, timeout=TIMEOUT, max_retries=12)


def peak_mib() -> int:
    """Return the highest memory of this process so far; not by getrusage, whose figure a child has from its parent."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


def main(url: str, folder: Path, n: int) -> None:
    session._LONGEST_PAUSE = 0.02
    asked = endpoint(url, folder)
    judge = PromptJudge(asked)
    judge(*pairs(n))
    texts = [answer.text for answer in judge.answers]
    right = [verdict(messages) for messages in conversations(n)]
    wrong = sum(text is not None and text != want for text, want in zip(texts, right, strict=True))
    report = {
        "wrong": wrong,
        "unanswered": texts.count(None),
        "answered": asked.usage.answered,
        "stored": asked.usage.stored,
        "estimated": asked.usage.estimated,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
