"""Judging through an endpoint: every pair once, whatever goes wrong, and never over the budget."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import ConfigError, JudgeError
from genrlhf.metrics.preference import AnswerStore, ChatEndpoint, ModelAnswer, PromptJudge, judge_template
from tests.metrics.preference.judging.chat_server import ChatServer, tokens_of, verdict

pytestmark = pytest.mark.enable_socket
ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def pairs(n: int) -> tuple[list[str], list[str], list[str]]:
    prompts = [f"prompt {i}" for i in range(n)]
    return prompts, [f"a{'x' * (i % 3)}" for i in range(n)], [f"b{'y' * (i % 2)}" for i in range(n)]


def conversations(n: int) -> list[list[dict[str, str]]]:
    template = judge_template()
    # A mark as long as a judge's.
    return [template.fill(*row, mark="0" * 8) for row in zip(*pairs(n), strict=True)]


def texts(answers: list[Any]) -> list[str | None]:
    return [answer.text if isinstance(answer, ModelAnswer) else None for answer in answers]


def test_answers_and_the_bill(tmp_path: Path) -> None:
    with ChatServer() as server:
        endpoint = ChatEndpoint("judge", base_url=server.url, store=AnswerStore(tmp_path / "s.sqlite"), prices=(10, 30))
        asked = conversations(30)
        assert texts(endpoint([*asked, asked[0]])) == [verdict(messages) for messages in [*asked, asked[0]]]
        assert set(server.answered.values()) == {1} and len(server.answered) == 30
        assert server.requests[0]["model"] == "judge" and server.requests[0]["temperature"] == 0
        prompt_tokens = sum(map(tokens_of, asked))
        usage = endpoint.usage
        assert (usage.answered, usage.stored, usage.failed, usage.attempts) == (30, 0, 0, 30)
        assert (usage.prompt_tokens, usage.completion_tokens) == (prompt_tokens, 210)
        assert usage.cost == pytest.approx((prompt_tokens * 10 + 210 * 30) / 1e6)
        assert AnswerStore(tmp_path / "s.sqlite").total() == (30, prompt_tokens, 210)
        again = ChatEndpoint("judge", base_url=server.url, store=AnswerStore(tmp_path / "s.sqlite"))
        assert texts(again(asked)) == [verdict(messages) for messages in asked]
        assert again.usage.stored == 30 and len(server.requests) == 30


def test_log_probabilities_and_called_functions_are_answers_and_kept(tmp_path: Path) -> None:
    def answer(messages: list[dict[str, str]]) -> Any:
        if "prompt 0" in messages[-1]["content"]:
            call = {"id": "c", "type": "function", "function": {"name": "rank", "arguments": '{"a": 1}'}}
            return {"text": None, "tool_calls": [call]}
        top = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in (("m", -0.5), ("M", -1.0))]
        position = {"token": "m", "logprob": -0.5, "bytes": None, "top_logprobs": [*top, {**top[0], "logprob": -9.0}]}
        return {"text": "m", "logprobs": {"content": [position], "refusal": None}}

    with ChatServer(answer=answer) as server:
        store = AnswerStore(tmp_path / "s.sqlite")
        found = ChatEndpoint("judge", base_url=server.url, store=store)(conversations(2))
        assert texts(found) == ['{"a": 1}', "m"]
        assert [one and one.top_logprobs for one in found] == [None, [{"m": -0.5, "M": -1.0}]]
        assert ChatEndpoint("judge", base_url=server.url, store=store)(conversations(2)) == found
        assert len(server.requests) == 2


def test_another_of_anything_that_matters_is_asked_anew(tmp_path: Path) -> None:
    with ChatServer() as server:
        store = AnswerStore(tmp_path / "s.sqlite")
        (asked,) = conversations(1)
        template = judge_template()
        prompt, first, second = (column[0] for column in pairs(1))
        variants: list[tuple[dict[str, Any], Any]] = [
            ({}, asked),
            ({"settings": {"temperature": 1}}, asked),
            ({"max_tokens": 5}, asked),
            ({}, template.fill(prompt, second, first)),
            ({}, judge_template("news").fill(prompt, first, second)),
            ({}, template.fill(prompt + " ", first, second)),
        ]
        for number, (options, conversation) in enumerate(variants, start=1):
            ChatEndpoint("judge", base_url=server.url, store=store, **options)([conversation])
            assert len(server.requests) == number
        ChatEndpoint("other", base_url=server.url, store=store)([asked])
        assert len(server.requests) == len(variants) + 1
        ChatEndpoint("judge", base_url=server.url, store=store, concurrency=3, timeout=7)([asked])
        assert len(server.requests) == len(variants) + 1


def test_a_budget_is_never_exceeded(tmp_path: Path) -> None:
    with ChatServer() as server:
        store = AnswerStore(tmp_path / "s.sqlite")
        asked = conversations(200)
        prices = (1000.0, 2000.0)
        whole = ChatEndpoint("judge", base_url=server.url, prices=prices).estimate(asked)
        assert whole.cost is not None
        budget = whole.cost / 4
        endpoint = ChatEndpoint("judge", base_url=server.url, store=store, prices=prices, budget=budget)
        with pytest.raises(JudgeError, match=r"The budget of .* is reached: .* is spent on \d+ answers"):
            endpoint(asked)
        assert endpoint.usage.cost is not None and 0.2 * budget < endpoint.usage.cost <= budget
        assert store.total()[0] == endpoint.usage.answered == len(server.requests)
        spent = (store.total()[1] * prices[0] + store.total()[2] * prices[1]) / 1e6
        assert endpoint.usage.cost == pytest.approx(spent)
        left = ChatEndpoint("judge", base_url=server.url, store=store, prices=prices).estimate(asked)
        assert (left.stored, left.answered) == (endpoint.usage.answered, 200 - endpoint.usage.answered)
        ChatEndpoint("judge", base_url=server.url, store=store, prices=prices, budget=whole.cost)(asked)
        assert len(server.requests) == 200 and set(server.answered.values()) == {1}


def test_the_estimate_is_not_below_the_bill() -> None:
    asked = conversations(50)
    endpoint = ChatEndpoint("judge", base_url="http://127.0.0.1:9/v1")
    assert endpoint.estimate(asked).prompt_tokens >= sum(map(tokens_of, asked))
    assert endpoint.estimate([*asked, *asked]).answered == 50


def test_refusals_are_one_clear_line_without_the_key(tmp_path: Path) -> None:
    with ChatServer(key="right") as server:
        secret = "sk-very-secret"
        endpoint = ChatEndpoint("judge", base_url=server.url, api_key=secret)
        with pytest.raises(JudgeError, match="refuses the key") as raised:
            endpoint(conversations(40))
        assert secret not in str(raised.value) and "[key]" in str(raised.value)
        assert secret not in repr(vars(endpoint)) and secret not in repr(endpoint.usage)
        with pytest.raises(Exception, match=r"pickle|local object"):
            pickle.dumps(endpoint)
        with pytest.raises(JudgeError, match="knows no model 'unknown'"):
            ChatEndpoint("unknown", base_url=server.url, api_key="right")(conversations(1))
        assert ChatEndpoint("judge", base_url=server.url, api_key="right")(conversations(1))


def test_an_endpoint_that_is_down_leaves_no_answers(tmp_path: Path) -> None:
    with ChatServer() as server:
        url = server.url
    store = AnswerStore(tmp_path / "s.sqlite")
    endpoint = ChatEndpoint("judge", base_url=url, store=store, max_retries=1)
    with pytest.raises(JudgeError, match=r"cannot be reached \(.*\) \(2 attempts\)"):
        PromptJudge(endpoint)(*pairs(3))
    assert endpoint.usage.answered == endpoint.usage.unknown == 0 and store.total() == (0, 0, 0)
    with ChatServer() as server:
        again = ChatEndpoint("judge", base_url=server.url, store=store)
        assert None not in again(conversations(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"budget": 0, "prices": (1, 1)}, "budget must be above 0"),
        ({"prices": (-1, 1)}, "prices must be 0 or more"),
        ({"budget": 1.0}, "A budget needs prices"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChatEndpoint("judge", **options)


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    file = tmp_path / "s.sqlite"
    file.write_bytes(b"this is no database at all, " * 200)
    with pytest.raises(ConfigError, match="is no store of answers"):
        AnswerStore(file)


def test_works_inside_a_running_event_loop() -> None:
    import asyncio

    async def notebook(url: str) -> list[str | None]:
        return ChatEndpoint("judge", base_url=url)(conversations(2))

    with ChatServer() as server:
        assert None not in asyncio.run(notebook(server.url))
