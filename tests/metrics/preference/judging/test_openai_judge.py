"""A judge behind an endpoint, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import ConfigError
from genrlhf.metrics.preference import AnswerStore, OpenAIJudge, judge_template, preference_vs_reference
from tests.metrics.preference.judging.chat_server import ChatServer

pytestmark = pytest.mark.enable_socket


def test_preference_vs_reference_by_an_endpoint(tmp_path: Path) -> None:
    with ChatServer(key="right") as server:
        judge = OpenAIJudge(
            "m",
            judge_template("news"),
            settings={"seed": 7},
            base_url=server.url,
            api_key="right",
            store=AnswerStore(tmp_path / "s.sqlite"),
            prices=(1.0, 2.0),
        )
        # The server prefers the longer text.
        found = preference_vs_reference(["p", "q", "r"], ["long", "longer", "a"], ["a", "b", "long"], judge)
        assert (found.wins, found.losses) == (2, 1)
        body = server.requests[0]
        assert (body["model"], body["seed"], body["temperature"], body["max_tokens"]) == ("m", 7, 0, 100)
        assert judge.endpoint.usage.answered == 3 and judge.endpoint.usage.cost > 0
        assert "news article" in body["messages"][0]["content"]


def test_what_the_template_needs_is_asked_for() -> None:
    with ChatServer(answer=lambda messages: "M") as server:
        judge = OpenAIJudge("m", judge_template(answer="logprobs"), base_url=server.url)
        assert judge(["p"], ["a"], ["b"]) == [2.0]
        body = server.requests[0]
        assert (body["logprobs"], body["top_logprobs"], body["max_tokens"], body["temperature"]) == (True, 5, 1, 1)


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        (
            {
                "content": [
                    {"token": " M", "top_logprobs": [{"token": " M", "logprob": -1}, {"token": "m", "logprob": -1}]}
                ]
            },
            1.5,
        ),
        ({"tokens": [" M"], "token_logprobs": [-1], "top_logprobs": [{" M": -1, "m": -1}]}, 1.5),
        # The letter itself, where there is nothing else.
        (None, 2.0),
        ({"content": None}, 2.0),
        ({"content": []}, 2.0),
        ({"content": [{"token": " M", "logprob": -0.1}]}, 2.0),
        ({"content": [{"token": " M", "top_logprobs": None}]}, 2.0),
        ({"top_logprobs": [None]}, 2.0),
        ({"top_logprobs": "none"}, 2.0),
        # Nothing of the letters among them.
        ({"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": -0.1}]}]}, None),
    ],
)
def test_log_probabilities_as_endpoints_have_them_or_not(logprobs: Any, expected: float | None) -> None:
    with ChatServer(answer=lambda messages: {"text": " M", "logprobs": logprobs}) as server:
        judge = OpenAIJudge("m", judge_template(answer="logprobs"), base_url=server.url)
        assert judge(["p"], ["a"], ["b"]) == [expected]


@pytest.mark.parametrize(
    ("options", "message"), [({"budget": 1.0}, "A budget needs prices"), ({"timeout": 0}, "timeout must be above 0")]
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIJudge("m", **options)
