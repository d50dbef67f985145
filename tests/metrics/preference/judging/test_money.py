"""What is billed counts, whatever comes of it; a budget waits, and holds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import ConfigError, JudgeError
from genrlhf.metrics.preference import AnswerStore, ChatEndpoint, ModelAnswer, NoAnswer
from genrlhf.metrics.preference.judging.spending import Spending, counted_tokens, longest_prompt
from tests.openai_client.scripted_server import Reply, ScriptedServer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PRICES = (1e6, 1e6)
"""One for every token."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.02)


def asked(n: int) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": f"letters only {chr(97 + number)}"}] for number in range(n)]


def answer(text: Any = "yes", finish: Any = "stop", usage: Any = (20, 5), **message: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"choices": [{"finish_reason": finish, "message": {"content": text, **message}}]}
    if usage is not None:
        found["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
    return found


def endpoint(server: ScriptedServer, **options: Any) -> ChatEndpoint:
    options = {"api_key": "sk-x", "max_tokens": 10, "prices": PRICES, "max_retries": 2, "timeout": 5.0, **options}
    return ChatEndpoint("m", base_url=server.url, **options)


UNREAD: list[tuple[str, dict[str, Any], str]] = [
    ("thinking alone", answer(None, "length", reasoning_content="hm"), "raise max_tokens"),
    ("empty and cut", answer("", "length"), "raise max_tokens"),
    ("thinking alone, as Mistral has it", answer(None, "model_length", reasoning_content="hm"), "raise max_tokens"),
    ("filtered, as Google has it", answer("", "content_filter: SAFETY"), "a content filter of the endpoint took it"),
    ("filtered", answer("", "content_filter"), "a content filter of the endpoint took it"),
    ("failed", answer("", "error"), "the server failed while it answered"),
    ("ended at once", answer(" \n", "stop"), "the model ended it at once"),
    ("refused", answer(None, "stop", refusal="I cannot do that."), "refused to answer: 'I cannot do that.'"),
    ("hostile", answer([1, {"type": "text"}], [[[]]]), "the model ended it at once"),
]


@pytest.mark.parametrize(("what", "reply", "reason"), UNREAD, ids=[row[0] for row in UNREAD])
def test_answers_without_a_text_are_billed_said_and_asked_again(
    what: str, reply: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    well: list[bool] = []
    store = AnswerStore(tmp_path / "s.sqlite")
    with ScriptedServer(lambda body, number: Reply(200, answer() if well or number == 0 else reply)) as server:
        first = endpoint(server, store=store, concurrency=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = first(asked(3))
        assert [isinstance(one, NoAnswer) for one in found] == [False, True, True]
        assert isinstance(found[1], NoAnswer) and reason in found[1].reason
        assert (first.usage.answered, first.usage.failed, first.usage.refused) == (1, 2, 2)
        assert first.usage.cost == 25.0 * len(server.requests)
        assert store.total() == (1, 20 * len(server.requests), 5 * len(server.requests))
        before = len(server.requests)
        well.append(True)
        again = endpoint(server, store=store)(asked(3))
        assert all(isinstance(one, ModelAnswer) for one in again) and len(server.requests) == before + 2


ENDS = ("length", "MAX_TOKENS", "model_length", "content_filter: SAFETY", "insufficient_system_resource", "abort")


@pytest.mark.parametrize("end", ENDS)
def test_an_answer_that_was_cut_off_is_handed_on_and_asked_again(end: str, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "s.sqlite")
    with ScriptedServer(lambda body, number: Reply(200, answer("half a sen", end))) as server:
        for number in (1, 2):
            (found,) = endpoint(server, store=store)(asked(1))
            assert isinstance(found, ModelAnswer) and found.text == "half a sen" and not found.ended
            assert len(server.requests) == number and store.total() == (0, 20 * number, 5 * number)
        endpoint(server, store=store, keeps=lambda one: one.text.startswith("half"))(asked(1))
        assert store.total()[0] == 1
        (kept,) = endpoint(server, store=store)(asked(1))
        assert isinstance(kept, ModelAnswer) and not kept.ended and len(server.requests) == 3


@pytest.mark.parametrize("usage", [None, (0, 0), (-3, 5), ("many", 1), (5, None), (True, 3), (1.5, 2)])
def test_an_answer_without_a_count_is_counted_at_its_longest(usage: Any) -> None:
    with ScriptedServer(lambda body, number: Reply(200, answer(usage=usage))) as server:
        made = endpoint(server)
        made(asked(4))
        most = made.estimate(asked(4))
        assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (most.prompt_tokens, 40)
        assert made.usage.cost == most.cost and made.usage.estimated == 4 and made.usage.unknown == 0
        limited = endpoint(server, budget=2.5 * most.prompt_tokens / 4 + 25, concurrency=16)
        with pytest.raises(JudgeError, match="is spent on 2 answers, 2 of them without a count of the endpoint's"):
            limited(asked(4))
        assert len(server.requests) == 4 + 2


@pytest.mark.parametrize("usage", [(10**30, 5), (20, 10**30), (2**63, 2**64)])
def test_counts_are_no_larger_than_possible(usage: Any, tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "s.sqlite")
    with ScriptedServer(lambda body, number: Reply(200, answer(usage=usage))) as server:
        made = endpoint(server, store=store)
        made(asked(1))
        assert 0 < made.usage.prompt_tokens < 2000 and 0 < made.usage.completion_tokens < 1000
        assert store.total() == (1, made.usage.prompt_tokens, made.usage.completion_tokens)


def test_counts_of_a_request() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "é" * 100}]}

    def counted(*usage: Any) -> Any:
        return counted_tokens({"prompt_tokens": usage[0], "completion_tokens": usage[1]}, body, 10, 50)

    assert counted(12, 3) == (12, 3)
    # More than was asked for, as from a server that knows no such limit, but no more than bytes that came.
    assert counted(12, 40) == (12, 40) and counted(12, 51) == (12, 50)
    assert counted(10**9, 0)[0] < 2000
    assert counted_tokens(None, body, 10, 50) is counted_tokens([1], body, 10, 50) is None


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_a_job_that_fits_is_not_ended(concurrency: int) -> None:
    # 20 answers at 15 + 5, each of which may be 15 + 10: the last one fits where 19 × 20 + 25 do.
    assert longest_prompt(asked(1)[0]) == 15
    reply = Reply(200, answer(usage=(15, 5)))
    with ScriptedServer(lambda body, number: reply) as server:
        made = endpoint(server, budget=405.0, concurrency=concurrency)
        assert len(made(asked(20))) == 20 and made.usage.cost == 400.0
    with ScriptedServer(lambda body, number: reply) as server:
        made = endpoint(server, budget=404.0, concurrency=concurrency)
        with pytest.raises(JudgeError, match="The budget of 404 is reached: 380 is spent on 19 answers"):
            made(asked(20))


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize(
    "reply",
    [Reply(200, answer(None, "length", (20, 10))), Reply(200, {"choices": [], "usage": answer()["usage"]})],
    ids=["no text, and more than its prompt", "no message"],
)
def test_a_budget_holds_where_nothing_can_be_read(reply: Reply, concurrency: int) -> None:
    with ScriptedServer(lambda body, number: reply) as server:
        made = endpoint(server, budget=100.0, concurrency=concurrency, max_retries=9)
        with pytest.raises(JudgeError, match="The budget of 100 is reached"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made(asked(12))
        each = sum(reply.body["usage"].values())
        assert made.usage.cost == each * len(server.requests) <= 100.0


def test_a_budget_holds_where_answers_break_off() -> None:
    # The server may have billed each of them.
    with ScriptedServer(lambda body, number: Reply(200, b'{"choices": [{"mess')) as server:
        made = endpoint(server, budget=100.0, max_retries=99)
        with pytest.raises(JudgeError, match=r"up to \d+ on \d attempts that broke off"):
            made(asked(1))
        usage, most = made.usage, made.estimate(asked(1)).cost
        assert usage.cost == 0 and most is not None
        assert usage.unknown == len(server.requests) == 100 // most and usage.unknown_cost == usage.unknown * most


def test_refusals_cost_nothing() -> None:
    with ScriptedServer(lambda body, number: Reply(429 if number < 5 else 200, answer())) as server:
        made = endpoint(server, budget=26.0, max_retries=9)
        made(asked(1))
        assert (made.usage.cost, made.usage.unknown) == (25.0, 0)


@pytest.mark.parametrize("prices", [(-1, 1), (1, float("nan")), (float("inf"), 0)])
def test_prices_that_are_none(prices: Any) -> None:
    with pytest.raises(ConfigError, match="prices must be 0 or more, and finite"):
        Spending(prices, None)


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf")])
def test_budgets_that_are_none(budget: float) -> None:
    with pytest.raises(ConfigError, match="budget must be above 0, and finite"):
        Spending((1, 1), budget)


@pytest.mark.parametrize(
    ("text", "most"),
    [("a" * 100, 50), ("12345", 5), ("!?#$%", 5), ("日本語", 9), ("ab 1 é", 5), ("\ud83d", 1), ("", 0)],
)
def test_a_prompt_at_its_longest(text: str, most: int) -> None:
    # Letters and blanks half a token each, rounded up; marks and digits one; other characters one a byte.
    assert longest_prompt([{"content": text}]) - 8 == most
