"""`genrlhf data annotate` as it is typed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.metrics.preference import AnswerStore
from tests.helpers import save_model, tiny_llama, tiny_tokenizer
from tests.metrics.preference.judging.chat_server import ChatServer, verdict

pytestmark = pytest.mark.enable_socket

CONCURRENCY = 4
POOL = """
defaults: {{base_url: {url}, concurrency: {concurrency}, prices: [1, 2]}}
annotators:
  - {{name: one, model: m}}
  - {{name: two, model: m, temperature: 0.5, noise: 0}}
"""


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.01)
    write("pool.yaml", POOL.format(url=server.url, concurrency=CONCURRENCY))
    write("outputs.jsonl", samples(40))
    return tmp_path


def samples(n: int) -> list[dict[str, Any]]:
    return [{"prompt": f"q{k}", "outputs": [f"a{k}" * m for m in range(1, 4)], "dataset": "d"} for k in range(n)]


def write(name: str, content: Any) -> None:
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    Path(name).write_text(text, encoding="utf-8")


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def annotate(*typed: str) -> int:
    return main(["data", "annotate", *typed, "--pool", "pool.yaml"])


def test_samples_become_preferences_that_dpo_trains_on(
    folder: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert annotate("outputs.jsonl", "--dry-run", "--json") == 0
    most = json.loads(capsys.readouterr().out)
    assert not server.requests
    assert annotate("outputs.jsonl", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    rows = lines("preferences.jsonl")
    assert found["pairs"] == found["labelled"] == found["rows"] == len(rows) == 40 and found["unlabelled"] == {}
    # The server likes what is longer; a coin likes nothing.
    asked = [row for row in rows if not row["at_random"]]
    assert all(len(row["chosen"]) > len(row["rejected"]) and row["raw_answer"] for row in asked)
    assert any(len(row["chosen"]) < len(row["rejected"]) for row in rows)
    assert {row["annotator"] for row in rows if row["at_random"]} == {"one"} and rows[0]["dataset"] == "d"
    assert len(server.requests) == len(asked) == found["all"]["asked"] == most["calls"]
    assert found["all"]["spent"]["cost"] == sum(one["spent"]["cost"] for one in found["annotators"].values()) > 0
    assert most["most_cost"] > found["all"]["spent"]["cost"]
    labels = lines("preferences.annotations.jsonl")
    assert len(labels) == 40 and {row["preference"] for row in labels} == {1, 2}

    # A file that has grown is asked about what is new.
    before = Path("preferences.jsonl").read_bytes()
    write("outputs.jsonl", samples(50)[::-1])
    assert annotate("outputs.jsonl") == 0
    assert "10 of" not in capsys.readouterr().out and set(before.splitlines()) <= set(
        Path("preferences.jsonl").read_bytes().splitlines()
    )
    assert set(server.answered.values()) == {1}

    base = str(save_model(tiny_llama(), tiny_tokenizer(), folder / "base"))
    few = ["--max_steps", "1", "--output_dir", "dpo", "--use_cpu", "true", "--report_to", "none"]
    assert main(["train", "dpo", "--model", base, "--train_file", "preferences.jsonl", *few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1


def test_conversations_of_two_models_labelled_by_both_annotators(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [[{"role": "user", "content": f"q{k}"}] for k in range(6)]
    write("a.jsonl", [{"prompt": turn, "outputs": ["a" * k]} for k, turn in enumerate(turns, 1)])
    write("b.jsonl", [{"prompt": turn, "outputs": ["aaa"]} for turn in turns[::-1]])
    typed = ["a.jsonl", "b.jsonl", "--n-annotators", "2", "--noise", "0", "--order", "both"]
    assert annotate(*typed) == 0
    told = capsys.readouterr()
    assert "a.jsonl, line 3 has outputs that are equal or blank, and is left out." in told.err
    assert (
        "two annotators of a pair agree in 100.0" in told.out and "the order changed the verdict in 0.0 %" in told.out
    )
    rows = lines("preferences.jsonl")
    assert [row["score"] for row in rows] == [1.0] * 5 and rows[0]["annotator"] == "majority"
    assert rows[0]["chosen"] == [{"role": "assistant", "content": "aaa"}] and rows[0]["prompt"] == turns[0]
    assert annotate(*typed, "--keep", "all") == 0
    assert [row["annotator"] for row in lines("preferences.jsonl")] == ["one", "two"] * 5


def test_preferences_are_labelled_anew_and_validated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [{"prompt": f"q{k}", "chosen": "long" if k else "a", "rejected": "aa", "id": k} for k in range(8)]
    write("human.jsonl", given)
    assert annotate("human.jsonl", "--preferences", "--noise", "0", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["as_before"]["value"] == 7 / 8 and [row["id"] for row in lines("preferences.jsonl")] == list(range(8))
    assert main(["judge", "validate", "preferences.annotations.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["all"]["accuracy"]["value"] == 7 / 8


def test_what_cannot_be_labelled_is_kept_with_its_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def moody(messages: list[dict[str, str]]) -> str:
        return "neither of them" if "q1\n" in messages[-1]["content"] else verdict(messages)

    with ChatServer(answer=moody) as server:
        write("pool.yaml", f"annotators: [{{model: m, base_url: '{server.url}', noise: 0}}]")
        write("outputs.jsonl", [{"prompt": f"q{k}", "outputs": ["aa", "bb"[: 1 + (k != 2)] + "b"]} for k in range(4)])
        assert annotate("outputs.jsonl") == 0
        out = capsys.readouterr().out
        assert "3 of 4 pairs have a preference" in out and "1 without: the answer says no verdict" in out
        (row,) = [row for row in lines("preferences.annotations.jsonl") if row["preference"] is None]
        assert (
            row["instruction"] == "q1" and row["raw_completion"] == "neither of them" and "no verdict" in row["reason"]
        )
        write("outputs.jsonl", [{"prompt": "q1", "outputs": ["a", "b"]}])
        assert annotate("outputs.jsonl") == 1
        assert "None of the 1 pairs has a preference ('the answer says no verdict" in capsys.readouterr().err


UNPRICED = "defaults: {base_url: URL}\nannotators: [{name: a, model: m, prices: [1, 1]}, {name: b, model: n}]"
BAD: list[tuple[list[str], Any, str]] = [
    (["outputs.jsonl"], "annotators: [{model: m}]", "There is no key for https://api.openai.com"),
    (["outputs.jsonl"], "annotators: []", "pool.yaml, annotators: list should have at least 1 item"),
    (["outputs.jsonl"], "annotators: [{model: m, weight: 0}]", "The weights of all annotators are 0"),
    (["outputs.jsonl", "--noise", "0.7"], None, "must be from 0 to 0.5, not 0.7"),
    (["outputs.jsonl", "--noise", "nan"], None, "must be from 0 to 0.5, not nan"),
    (["equal.jsonl"], None, "all 1 rows have no two different outputs"),
    (["single.jsonl"], None, "all 1 rows have no two different outputs; sample more outputs of a prompt"),
    (["equal.jsonl", "equal.jsonl"], None, "all 1 rows have outputs that are equal or blank"),
    (["outputs.jsonl", "--preferences"], None, "outputs.jsonl, line 1 has no 'chosen'"),
    (["outputs.jsonl", "--n-annotators", "3"], None, "give a number from 1 to 2"),
    (["outputs.jsonl", "--pairs-per-prompt", "0"], None, "per_prompt must be at least 1"),
    (["a", "b", "c"], None, "Give outputs of one or of two models"),
    (["outputs.jsonl", "--annotations", "preferences.jsonl"], None, "--annotations preferences.jsonl is what --output"),
    (["outputs.jsonl", "--output", "p.txt"], None, "--output p.txt must end in"),
    (["outputs.jsonl", "--budget", "1"], UNPRICED, "Annotator 'b': A budget needs prices"),
    (["outputs.jsonl", "--budget", "1e-7"], None, "The budget for all annotators is reached at 'one'"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "pool", "words"), BAD, ids=lambda value: None)
def test_bad_input_is_one_line_before_the_first_call(
    typed: list[str], pool: str | None, words: str, folder: Path, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    write("equal.jsonl", [{"prompt": "q", "outputs": ["same", "same"]}])
    write("single.jsonl", [{"prompt": "q", "outputs": ["one"]}])
    if pool is not None:
        write("pool.yaml", pool.replace("URL", server.url))
    assert annotate(*typed) == 1
    told = capsys.readouterr()
    assert words in told.err and told.err.count("\n") == 1 and not told.out
    assert not server.requests and not Path("preferences.jsonl").exists()


def test_kills_lose_nothing_and_pay_for_nothing_twice(folder: Path) -> None:
    """One kill; `KILLS` in the environment asks for more."""
    kills, n = int(os.environ.get("KILLS", "1")), 150
    until = [0]

    def held(messages: list[dict[str, str]]) -> str:
        # However late the kill comes, there is something left to ask.
        while sum(server.answered.values()) >= until[0]:
            time.sleep(0.005)
        return verdict(messages)

    with ChatServer(answer=held) as server:
        write("pool.yaml", POOL.format(url=server.url, concurrency=CONCURRENCY))
        write("outputs.jsonl", samples(n))
        words = ["data", "annotate", "outputs.jsonl", "--pool", "pool.yaml"]
        command, draw = [sys.executable, "-m", "genrlhf", *words], random.Random(0)
        for _ in range(kills):
            until[0] = sum(server.answered.values()) + draw.randint(5, 25)
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 100
            while sum(server.answered.values()) < until[0] and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL and not Path("preferences.jsonl").exists()
        kept = AnswerStore("preferences.jsonl.answers.sqlite").total()[0]
        assert kept >= until[0] - kills * CONCURRENCY > 0
        until[0] = 10**9
        assert main(words) == 0
        rows = lines("preferences.jsonl")
        asked = sum(not row["at_random"] for row in rows)
        # Answered twice are those alone that were in flight at a kill.
        answered = sum(server.answered.values())
        assert len(rows) == n and len(server.answered) == asked
        assert asked <= answered <= asked + kills * CONCURRENCY
        assert AnswerStore("preferences.jsonl.answers.sqlite").total()[0] == asked
        whole = Path("preferences.jsonl").read_bytes()
        assert main([*words, "--store", "another.sqlite", "--output", "again.jsonl"]) == 0
        assert Path("again.jsonl").read_bytes() == whole
