"""What `test_endpoint` kills: `python -m tests.metrics.preference.judging.judge_run URL FOLDER N` judges N pairs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from genrlhf.metrics.preference import AnswerStore, ChatEndpoint, PromptJudge
from genrlhf.openai_client import session
from tests.metrics.preference.judging.chat_server import verdict
from tests.metrics.preference.judging.test_endpoint import conversations, pairs


def main(url: str, folder: Path, n: int) -> None:
    session._LONGEST_PAUSE = 0.02
    asked = ChatEndpoint(
        "judge", base_url=url, store=AnswerStore(folder / "s.sqlite"), concurrency=8, timeout=0.8, max_retries=12
    )
    judge = PromptJudge(asked)
    judge(*pairs(n))
    texts = [answer.text for answer in judge.answers]
    right = [verdict(messages) for messages in conversations(n)]
    wrong = sum(text is not None and text != want for text, want in zip(texts, right, strict=True))
    print(json.dumps({"wrong": wrong, "unanswered": texts.count(None)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
