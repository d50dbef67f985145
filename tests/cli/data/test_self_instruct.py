"""`genrlhf data self-instruct` as it is typed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.data import write_rows
from tests.data.selfinstruct.scripted import SEEDS, answer
from tests.helpers import save_model, tiny_llama, tiny_tokenizer
from tests.metrics.preference.judging.chat_server import ChatServer

pytestmark = pytest.mark.enable_socket


def slowly(messages: list[dict[str, str]]) -> str:
    time.sleep(0.01)
    return answer(messages)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer=slowly) as running:
        yield running


@pytest.fixture
def typed(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    write_rows(SEEDS, "seeds.jsonl")
    given = ["--model", "m", "--base-url", server.url, "--chat", "--seeds", "seeds.jsonl", "--output-dir", "made"]
    return ["data", "self-instruct", *given, "--concurrency", "3", "--target", "30"]


def count(file: str) -> int:
    return Path(file).read_bytes().count(b"\n")


def test_a_killed_run_goes_on_and_pays_for_no_answer_that_it_has_twice(
    typed: list[str], server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen([sys.executable, "-m", "genrlhf", *typed], stderr=subprocess.DEVNULL) as process:
        while len(server.requests) < 45 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    time.sleep(0.1)  # what was in flight is answered, and nobody hears it
    kept, answered = count("made/answers.jsonl"), sum(server.answered.values())
    assert 0 < kept <= answered <= kept + 3
    assert main([*typed, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    total = count("made/answers.jsonl")
    # Paid for twice is what was in flight at the kill, and nothing else.
    assert sum(server.answered.values()) == total + (answered - kept)
    assert (figures["asked"], figures["instructions"]) == (total - kept, 30)
    assert figures["rows"] == count("made/train.jsonl") > 20
    alone = [name if name != "made" else "alone" for name in typed]
    assert main([*alone, "--json"]) == 0
    for name in ("train.jsonl", "rejected.jsonl", "instructions.jsonl", "report.json"):
        assert Path("alone", name).read_bytes() == Path("made", name).read_bytes()
    capsys.readouterr()
    # Nothing is asked again, and the table has every filter.
    assert main(typed) == 0
    out = capsys.readouterr().out
    assert "0 answers were asked for now" in out and "ROUGE-L to a seed" in out
    assert main([*typed, "--max-rouge-l", "0.6"]) == 1
    assert "another run (max_rouge_l is 0.7 there and 0.6 here). Choose another folder" in capsys.readouterr().err
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 1024
    save_model(tiny_llama(max_position_embeddings=1024), tokenizer, Path("model"))
    few = ["--max_steps", "1", "--per_device_train_batch_size", "2", "--use_cpu", "--report_to", "none", "--json"]
    assert main(["train", "sft", "--model", "model", "--train_file", "made/train.jsonl", *few]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["train_loss"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds-in-context", "9"], "There are 8 seed tasks, and a prompt shows 9 (seeds_in_context)"),
        (["--max-rouge-l", "1.1"], "max_rouge_l must be above 0 and at most 1, not 1.1."),
        (["--backend", "transformers"], "--base-url and the server back end belong together"),
        (["--unlike", "none.jsonl"], "none.jsonl does not exist"),
    ],
)
def test_what_cannot_work_costs_nothing(
    options: list[str], message: str, typed: list[str], server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*typed, *options]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("genrlhf:"))
    assert message in line and not server.requests


def test_an_unreached_target_is_told_and_the_exit_status_says_so(
    typed: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    given: list[Any] = [*typed, "--target", "9", "--max-rouge-l", "0.2", "--patience", "1", "--requests-per-round", "2"]
    assert main([*given, "--json"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert 0 < figures["instructions"] < 9 and figures["report"]["stopped"] in caplog.text
