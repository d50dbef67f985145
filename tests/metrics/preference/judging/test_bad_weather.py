"""Judging through faults, hostile bodies, kills and a second process: each pair once, the bill right to the token."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genrlhf.metrics.preference import AnswerStore, ChatEndpoint
from tests.metrics.preference.judging.bill import Bill, bill
from tests.metrics.preference.judging.chat_server import FAULTS, HOSTILE, ChatServer, tokens_of, verdict
from tests.metrics.preference.judging.judge_run import CONCURRENCY
from tests.metrics.preference.judging.test_endpoint import ROOT, conversations, texts

pytestmark = pytest.mark.enable_socket


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.02)
    monkeypatch.setenv("OPENAI_API_KEY", "")


def command(server: ChatServer, folder: Path, n: int) -> list[str]:
    return [sys.executable, "-m", "tests.metrics.preference.judging.judge_run", server.url, str(folder), str(n)]


@pytest.mark.parametrize("fault", [*FAULTS, *HOSTILE])
def test_every_fault_passes(fault: str, tmp_path: Path) -> None:
    with ChatServer(0.5, faults=[fault], seed=1) as server:
        store = AnswerStore(tmp_path / "s.sqlite")
        endpoint = ChatEndpoint(
            "judge", base_url=server.url, store=store, timeout=2.0, max_retries=12, prices=(1.0, 1.0)
        )
        asked = conversations(6)
        assert texts(endpoint(asked)) == [verdict(messages) for messages in asked]
        usage, unread = endpoint.usage, sum(server.unread.values())
        assert usage.failed == usage.refused == usage.estimated == 0 and usage.attempts == len(server.requests) > 6
        assert bill(server, tmp_path, 6) == Bill(6, 0, 0, 0)
        assert usage.prompt_tokens == store.total()[1] and usage.completion_tokens == store.total()[2]
        assert (unread > 0) == (fault == "billed")
        # What came without an end or a meaning may have been billed; what was refused has not.
        assert (usage.unknown > 0) == (fault not in ("429", "500", "failed", "billed"))
        assert usage.unknown_cost is not None and (usage.unknown_cost > 0) == (usage.unknown > 0)


def test_bad_weather(tmp_path: Path) -> None:
    with ChatServer(0.2, faults=[*FAULTS, *HOSTILE]) as server:
        store = AnswerStore(tmp_path / "s.sqlite")
        endpoint = ChatEndpoint("judge", base_url=server.url, store=store, timeout=2.0, max_retries=12)
        asked = conversations(300)
        assert texts(endpoint(asked)) == [verdict(messages) for messages in asked]
        assert endpoint.usage.failed == 0 and endpoint.usage.attempts > 330
        assert set(server.answered.values()) == {1} and len(server.answered) == 300
        assert bill(server, tmp_path, 300) == Bill(300, 0, 0, 0)


def test_three_kills_lose_nothing_and_pay_for_nothing_twice(tmp_path: Path) -> None:
    n = 200
    with ChatServer(0.2, faults=[*FAULTS, *HOSTILE]) as server:
        draw = random.Random(0)
        for _ in range(3):
            process = subprocess.Popen(command(server, tmp_path, n), cwd=ROOT, stderr=subprocess.PIPE)
            goal = len(server.answered) + draw.randint(15, 45)
            deadline = time.monotonic() + 60
            while len(server.answered) < goal and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        done = subprocess.run(command(server, tmp_path, n), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["wrong"] == report["unanswered"] == report["estimated"] == 0 and report["peak_mib"] < 1024
        # Each pair has one answer in the store; twice answered are those alone that were in flight at a kill.
        found = bill(server, tmp_path, n)
        assert (found.answers, found.prompt_tokens_off, found.completion_tokens_off) == (n, 0, 0)
        assert len(server.answered) == n and 0 <= found.not_written_down <= 3 * CONCURRENCY


def test_two_processes_on_one_store_ask_once(tmp_path: Path) -> None:
    n = 120
    with ChatServer(0.2) as server:
        processes = [
            subprocess.Popen(command(server, tmp_path, n), cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        reports = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
        assert all(report["wrong"] == report["unanswered"] == 0 for report in reports)
        assert all(report["answered"] + report["stored"] == n for report in reports)
        assert sum(report["answered"] for report in reports) == n and min(report["answered"] for report in reports) > 0
        assert set(server.answered.values()) == {1} and len(server.answered) == n
        assert AnswerStore(tmp_path / "s.sqlite").total()[:2] == (n, sum(map(tokens_of, conversations(n))))


def test_what_a_killed_process_was_asking_is_asked_by_the_other(tmp_path: Path) -> None:
    n = 60
    hold = [True]

    def slow(messages: list[dict[str, str]]) -> str:
        while hold[0]:
            time.sleep(0.02)
        return verdict(messages)

    with ChatServer(answer=slow) as server:
        first = subprocess.Popen(command(server, tmp_path, n), cwd=ROOT)
        while len(server.requests) < CONCURRENCY:
            time.sleep(0.01)
        # The others' claims keep the second from asking the same.
        second = subprocess.Popen(command(server, tmp_path, n), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        first.kill()
        first.wait()
        hold[0] = False
        report = json.loads(second.communicate(timeout=60)[0])
        assert report["answered"] == n and report["unanswered"] == 0
