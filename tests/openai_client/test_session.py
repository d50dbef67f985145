"""Attempts that end in time and within a size, and when another one is made."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from genrlhf.errors import ConfigError
from genrlhf.openai_client import session as session_module
from genrlhf.openai_client.client import OpenAIClient
from genrlhf.openai_client.failures import RequestError, Scope
from genrlhf.openai_client.session import Session
from genrlhf.openai_client.threads import run_in_thread
from tests.openai_client.scripted_server import OK, Reply, ScriptedServer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1", "localhost"])

KEY = "sk-very-secret-0123456789"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LONGEST_PAUSE", 0.02)


def outcomes(
    url: str, n: int = 1, *, known_good: bool = False, body: dict[str, Any] = BODY, **options: Any
) -> list[dict[str, Any] | RequestError]:
    """Return what comes of n requests, one after the other, until one ends the run."""
    client = OpenAIClient(base_url=url, **{"api_key": KEY, "max_retries": 0, "timeout": 5.0, **options})

    async def run() -> list[Any]:
        found: list[Any] = []
        async with client.session(known_good=known_good) as session:
            for _ in range(n):
                try:
                    found.append((await session.ask(lambda: session.post("chat/completions", body)))[0])
                except RequestError as failure:
                    found.append(failure)
                    if failure.scope is Scope.RUN:
                        break
        return found

    return run_in_thread(run)


def failure(found: list[dict[str, Any] | RequestError]) -> RequestError:
    (last,) = found[-1:]
    assert isinstance(last, RequestError)
    assert "\n" not in str(last) and KEY not in str(last) and last.__cause__ is None
    return last


def drops(pause: float = 0.05) -> Iterator[bytes]:
    while True:
        yield b" "


def flood() -> Iterator[bytes]:
    return itertools.repeat(b" " * 100_000)


def test_an_answer_and_what_is_sent() -> None:
    with ScriptedServer(lambda body, number: Reply()) as server:
        body = {**BODY, "temperature": 0, "left_out": None, "extra": {"a": ["\ud83d"]}}
        assert outcomes(server.url + "?api-version=7", body=body) == [OK]
        assert server.requests == [{**BODY, "temperature": 0, "extra": {"a": ["?"]}}]
        assert server.paths == ["/v1/chat/completions?api-version=7"]
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
        assert server.headers[0]["accept-encoding"] == "identity"
        assert "api-key" not in server.headers[0]


def test_azure_gets_its_own_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.openai_client.client.is_azure", lambda host: True)
    with ScriptedServer(lambda body, number: Reply()) as server:
        assert outcomes(server.url) == [OK]
        assert server.headers[0]["api-key"] == KEY


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("slow", ["drip", "hang"])
def test_an_attempt_ends_in_time_however_slow_the_answer_is(status: int, slow: str) -> None:
    def reply(body: Any, number: int) -> Reply:
        if slow == "hang":
            time.sleep(1.5)
        return Reply(status, drops() if slow == "drip" else OK, every=0.05)

    with ScriptedServer(reply) as server:
        start = time.monotonic()
        found = failure(outcomes(server.url, timeout=0.4))
        assert time.monotonic() - start < 1.4
    assert "did not answer in time, which is 0.4 s" in str(found)
    assert found.may_be_billed and found.timed_out and not found.unreachable


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_has_a_largest_size(status: int) -> None:
    with ScriptedServer(lambda body, number: Reply(status, flood())) as server:
        found = failure(outcomes(server.url, largest_answer=300_000))
        assert "sent an answer of more than 300,000 bytes" in str(found)
        assert found.may_be_billed
        time.sleep(0.1)
        assert server.sent < 20_000_000


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_a_compressed_answer_is_read_and_bounded_too(kind: str) -> None:
    import json
    import zlib

    pack = gzip.compress if kind == "gzip" else zlib.compress
    bodies = [pack(json.dumps(OK).encode()), pack(b" " * 50_000_000), b"no such thing"]
    with ScriptedServer(lambda body, number: Reply(200, bodies[number], {"content-encoding": kind})) as server:
        plain, bomb, broken = outcomes(server.url, 3)
    assert plain == OK
    assert "more than 8,388,608 bytes" in str(bomb) and "cannot be read" in str(broken)
    with ScriptedServer(lambda body, number: Reply(200, b"x", {"content-encoding": "br"})) as server:
        assert "of the unknown kind" in str(failure(outcomes(server.url)))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>it works</html>",
        b"",
        b"[]",
        b"7",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"a": ' + b"9" * 9999 + b"}",
        b"\xff",
    ],
    ids=range(8),
)
def test_what_is_no_answer_is_asked_for_again(body: bytes) -> None:
    with ScriptedServer(lambda _, number: Reply(200, body if number < 2 else OK)) as server:
        assert outcomes(server.url, max_retries=2) == [OK]
    with ScriptedServer(lambda _, number: Reply(200, body)) as server:
        found = failure(outcomes(server.url, max_retries=1))
        assert len(server.requests) == 2 and found.scope is Scope.REQUEST and found.may_be_billed
        assert "check base_url, which often ends in /v1" in str(found) and "(2 attempts)" in str(found)


def test_a_failure_within_a_fine_answer_counts_as_what_it_says() -> None:
    bodies = [
        {"error": {"message": "Provider returned error", "code": 502}},
        {"error": {"message": "busy", "code": 429}, "choices": []},
        {"error": "oh"},
        OK,
    ]
    with ScriptedServer(lambda _, number: Reply(200, bodies[number])) as server:
        assert outcomes(server.url, max_retries=3) == [OK]
    with ScriptedServer(lambda _, number: Reply(200, {"error": {"message": "no", "code": 401}})) as server:
        assert failure(outcomes(server.url, 5)).scope is Scope.RUN
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "requests", "scope"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, 1, Scope.RUN),
        (429, {"error": {"message": "spent", "code": "insufficient_quota"}}, 1, Scope.RUN),
        (404, {"error": {"message": "no such model"}}, 1, Scope.RUN),
        (307, {}, 1, Scope.RUN),
        (400, {"error": {"message": "blocked", "code": "content_filter"}}, 4, Scope.REQUEST),
        (413, {}, 4, Scope.REQUEST),
        # Nobody knows whether it is the request: three of them are enough to tell.
        (400, {"error": {"message": "temperature is not supported"}}, 3, Scope.RUN),
        (429, {"error": {"message": "slow down"}}, 12, Scope.REQUEST),
        (503, {}, 12, Scope.REQUEST),
    ],
)
def test_how_often_a_refused_request_is_made(status: int, body: Any, requests: int, scope: Scope) -> None:
    with ScriptedServer(lambda _, number: Reply(status, body)) as server:
        found = outcomes(server.url, 4, max_retries=2)
        assert len(server.requests) == requests
        assert failure(found).scope is scope and len(found) == (4 if scope is Scope.REQUEST else min(requests, 4))


@pytest.mark.parametrize("status", [400, 403, 422])
def test_refusals_of_a_server_that_has_answered_are_the_fault_of_a_request(status: int) -> None:
    with ScriptedServer(lambda _, number: Reply(status if number else 200, {**OK, "message": "no"})) as server:
        found = outcomes(server.url, 7)
        assert [isinstance(one, RequestError) for one in found] == [False] + [True] * 6
    with ScriptedServer(lambda _, number: Reply(status, {"message": "no"})) as server:
        assert len(outcomes(server.url, 7, known_good=True)) == 7
        assert len(outcomes(server.url, 7)) == (1 if status == 403 else 3)


def test_a_key_that_is_forbidden_after_good_answers_ends_the_run() -> None:
    """A filter forbids one request or some; ten in a row without an answer between are the key's or the quota's."""
    with ScriptedServer(lambda _, number: Reply(403 if number > 2 else 200, {**OK, "message": "spent"})) as server:
        found = outcomes(server.url, 40)
        assert failure(found).scope is Scope.RUN and len(found) == 13
    with ScriptedServer(lambda _, number: Reply(403 if number % 10 else 200, {**OK, "message": "no"})) as server:
        assert len(outcomes(server.url, 40)) == 40


def test_a_server_that_fails_for_good_ends_the_run() -> None:
    with ScriptedServer(lambda _, number: Reply(503, {})) as server:
        assert failure(outcomes(server.url, 100, max_retries=9)).scope is Scope.RUN
        assert len(server.requests) == 30
        assert len(outcomes(server.url, 100, max_retries=9, known_good=True)) == 10
    # Requests that go wrong now and then do not.
    with ScriptedServer(lambda _, number: Reply(503 if number % 7 else 200, OK)) as server:
        assert len(outcomes(server.url, 60)) == 60


def test_nobody_listening_is_said_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    found = outcomes(url, 9, max_retries=50)
    assert len(found) == 1 and failure(found).scope is Scope.RUN
    assert "cannot be reached" in str(found[0]) and "(3 attempts)" in str(found[0])
    assert failure(found).unreachable and not failure(found).may_be_billed


def test_a_server_that_is_started_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LONGEST_PAUSE", 0.1)
    client = OpenAIClient(base_url="http://127.0.0.1:1/v1", max_retries=50)

    async def run() -> int:
        tries = 0

        async def attempt() -> int:
            nonlocal tries
            tries += 1
            if 1 < tries < 8:
                raise RequestError("x cannot be reached", Scope.ATTEMPT, unreachable=True)
            return tries

        async with client.session() as session:
            await session.ask(attempt)
            session._reached = True
            return await session.ask(attempt)

    assert run_in_thread(run) == 8


def test_a_connection_that_breaks_off_is_made_again() -> None:
    with ScriptedServer(lambda _, number: None if number < 2 else Reply()) as server:
        assert outcomes(server.url, max_retries=2) == [OK]
    with ScriptedServer(lambda _, number: None) as server:
        found = failure(outcomes(server.url))
        assert found.may_be_billed and "broke off" in str(found)


def test_a_pause_that_is_asked_of_one_is_kept_by_all() -> None:
    def reply(body: Any, number: int) -> Reply:
        return Reply(429, {}, {"retry-after": "0.6"}) if number == 0 else Reply()

    with ScriptedServer(reply) as server:
        client = OpenAIClient(base_url=server.url, api_key=KEY)

        async def run() -> None:
            async with client.session() as session:

                async def ask(after: float) -> None:
                    await asyncio.sleep(after)
                    await session.ask(lambda: session.post("chat/completions", BODY))

                await asyncio.gather(ask(0), ask(0.2), ask(0.3))

        run_in_thread(run)
        assert len(server.times) == 4
        assert all(at - server.times[0] > 0.59 for at in server.times[1:])


@pytest.mark.parametrize("asked", ["121", "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_of_hours_ends_the_run(asked: str) -> None:
    with ScriptedServer(lambda _, number: Reply(429, {}, {"retry-after": asked})) as server:
        found = failure(outcomes(server.url, 3, max_retries=5))
        assert found.scope is Scope.RUN and "the server asks to wait" in str(found)
        assert len(server.requests) == 1


def test_no_key_follows_a_redirection() -> None:
    with ScriptedServer(lambda _, number: Reply()) as other:
        away = Reply(307, {}, {"location": other.url})
        with ScriptedServer(lambda _, number: away) as server:
            assert f"is elsewhere (307): 'give {other.url} as base_url'" in str(failure(outcomes(server.url)))
        assert not other.requests


def test_a_key_that_comes_back_is_not_handed_on() -> None:
    echo = {"choices": [{"message": {"content": f"the key is {KEY}"}}]}
    with ScriptedServer(lambda _, number: Reply(200, echo)) as server:
        assert outcomes(server.url) == [{"choices": [{"message": {"content": "the key is [key]"}}]}]


def test_a_setting_that_is_no_json_is_no_fault_of_the_server() -> None:
    with ScriptedServer(lambda _, number: Reply()) as server:
        for value in (float("nan"), object()):
            found = failure(outcomes(server.url, 5, body={**BODY, "x": value}, max_retries=5))
            assert found.scope is Scope.RUN and "cannot be asked" in str(found)
        assert not server.requests


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://me:hush@127.0.0.1:9", "names a SOCKS proxy .*, and the package for it is not installed"),
        ("foo://me:hush@127.0.0.1:9", "The proxy that the environment names .* cannot be used"),
    ],
)
def test_proxies_that_cannot_be_used(proxy: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with ScriptedServer(lambda _, number: Reply()) as server:
        with pytest.raises(ConfigError, match=message) as raised:
            outcomes(server.url)
        assert "hush" not in str(raised.value) and not server.requests


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:hush@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    found = failure(outcomes("http://127.0.0.1:9/v1"))
    assert "cannot be reached, through the proxy that the environment names" in str(found)
    assert "hush" not in str(found) and found.scope is Scope.RUN


def test_an_interrupt_ends_what_runs_in_the_thread() -> None:
    ended: list[str] = []

    async def work() -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_in_thread(work)
    assert ended == ["cancelled"] and time.monotonic() - start < 5


def test_sessions_are_what_they_say() -> None:
    with ScriptedServer(lambda _, number: Reply()) as server:
        client = OpenAIClient(base_url=server.url, api_key=KEY)

        async def run() -> Session:
            async with client.session() as session:
                await session.ask(lambda: session.post("chat/completions", BODY))
                return session

        session = run_in_thread(run)
    assert (session.attempts, session.answers, session.known_good, session.refusal_of_all) == (1, 1, True, None)
