"""How commands end as processes: Ctrl-C, streams that are closed, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from tests.cli.commands import Workplace
from tests.metrics.preference.judging.chat_server import ChatServer, verdict

pytestmark = pytest.mark.enable_socket

GENRLHF = [sys.executable, "-m", "genrlhf"]


class Slow:
    """An answer that comes at once for the first calls, and for the others once it is let go."""

    def __init__(self, first: int) -> None:
        self.first, self.calls, self.lock, self.go = first, 0, threading.Lock(), threading.Event()

    def __call__(self, messages: list[dict[str, str]]) -> str:
        with self.lock:
            self.calls += 1
            number = self.calls
        if number > self.first:
            self.go.wait(60)
        return verdict(messages) if "<<<" in messages[-1]["content"] else "blue"


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def interrupted(command: list[str], when: Callable[[], bool]) -> tuple[int, list[str]]:
    """Run a command, press Ctrl-C once `when` holds, and return its status and what it said."""
    with subprocess.Popen([*GENRLHF, *command], stderr=subprocess.PIPE, text=True) as process:
        wait_for(when)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    return process.returncode, [line for line in said.replace("\r", "\n").splitlines() if line.startswith("genrlhf")]


def test_a_sampling_says_how_many_prompts_it_keeps_and_goes_on(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    slow = Slow(2)
    with ChatServer(answer=slow) as server:
        place = Workplace(tmp_path / "work", server)
        command, output = place.command("sample"), tmp_path / "work" / "sampled.jsonl"
        status, said = interrupted(command, lambda: output.is_file() and output.read_bytes().count(b"\n") == 2)
        assert (status, len(output.read_text().splitlines())) == (130, 2)
        assert said == [f"genrlhf: stopped; {output} holds 2 of 6 prompts; the same command goes on from there."]
        slow.go.set()
        assert main([*command, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["sampled_now"] == 4
    assert not list(output.parent.glob(".*.lock"))


def test_a_judge_asks_only_for_what_had_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    slow = Slow(3)
    with ChatServer(answer=slow) as server:
        place = Workplace(tmp_path / "work", server)
        command = [*place.command("judge", "run", **{"--known": []})]
        command.remove("--known")
        store = tmp_path / "work" / "annotations.jsonl.answers.sqlite"
        status, said = interrupted(command, lambda: len(server.answered) == 3 and _rows(store) == 3)
        assert status == 130 and not (tmp_path / "work" / "annotations.jsonl").exists()
        assert len(said) == 1 and said[0].startswith(f"genrlhf: stopped; the answers that have come are in {store}")
        had_come = set(server.answered)
        slow.go.set()
        assert main(command) == 0
        assert {server.answered[pair] for pair in had_come} == {1} and len(server.answered) == 6


def _rows(store: Path) -> int:
    import sqlite3

    if not store.is_file():
        return 0
    database = sqlite3.connect(store)
    try:
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'answers'").fetchone()
        return int(database.execute("SELECT count(*) FROM answers").fetchone()[0]) if tables else 0
    finally:
        database.close()


def test_a_command_that_only_reads_has_written_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held: list[Any] = []
    # Opening it waits until the command has opened it, too.
    opened = threading.Thread(target=lambda: held.append(pipe.open("w")), daemon=True)
    opened.start()
    status, said = interrupted(
        ["win-rate", str(pipe)],
        lambda: bool(held),
    )
    assert (status, said) == (130, ["genrlhf: stopped; nothing was written."])


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    with ChatServer() as server:
        return Workplace(tmp_path / "work", server).folder / "judged.jsonl"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "| true", "2>&1 | true"])
def test_streams_that_are_closed(redirection: str, judged: Path) -> None:
    """From the start, or by a reader that has left before anything is written."""
    script = f'sleep 0.1; "$@" {redirection.partition("|")[0]}'
    script = f'({script}; echo "status $?" >&3) | true' if "|" in redirection else f'{script}; echo "status $?" >&3'
    read, write = os.pipe()
    shell = ["bash", "-c", f"exec 3>&{write}; {script}", "-", *GENRLHF, "win-rate", str(judged)]
    # Buffered, what was printed is written once more as the interpreter ends.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(shell, stderr=subprocess.PIPE, text=True, pass_fds=[write], env=buffered)
    os.close(write)
    with os.fdopen(read) as told:
        assert told.read() == "status 0\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_standard_output(judged: Path) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        command = [*GENRLHF, "win-rate", str(judged)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered)
    assert done.returncode == 1
    assert done.stderr == ("genrlhf: standard output: No space left on device; choose another place, or make room.\n")


def test_the_module_and_the_package_of_commands_are_the_script() -> None:
    for module in ("genrlhf", "genrlhf.cli"):
        done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("genrlhf ")
