"""`genrlhf judge run` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.metrics.preference.judging.chat_server import ChatServer

pytestmark = pytest.mark.enable_socket


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.01)
    sft = [{"prompt": f"p{i}", "outputs": ["a" * (i + 1), "x"], "reference": "rr"} for i in range(6)]
    ppo = [{"prompt": f"p{i}", "outputs": ["b" * 4]} for i in range(6)]
    return [write(tmp_path / "sft.jsonl", sft), write(tmp_path / "ppo.jsonl", ppo[::-1])]


def lines(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_two_models_in_both_orders(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer() as server:
        command = ["judge", "run", *files, "--model", "m", "--base-url", server.url, "--order", "both", "--json"]
        assert main(command) == 0
        found = json.loads(capsys.readouterr().out)
        # The server prefers the longer text, and of equal ones what it sees first: 3 wins, 2 losses, 1 flip.
        assert (found["n_wins"], found["n_wins_base"], found["n_draws"], found["n_total"]) == (3, 2, 1, 6)
        assert found["model"] == "ppo" and found["baseline"] == "sft"
        assert found["flip_rate"] == pytest.approx(1 / 6) and found["answered_now"] == 12 and found["cost"] is None
        rows = lines("annotations.jsonl")
        assert [row["preference"] for row in rows] == [2, 2, 2, 1.5, 1, 1]
        assert rows[0]["generator_1"] == "sft" and rows[0]["annotator"] == "m:instructions-ranking"
        assert main(command) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["answered_now"] == 0 and again["stored"] == 12 and len(server.requests) == 12
        assert main(["win-rate", "annotations.jsonl", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["ppo"]["win_rate"] == found["win_rate"]


def test_references_prices_and_table(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer() as server:
        options = ["--model", "m", "--base-url", server.url, "--task", "news", "--prices", "10", "30", "--limit", "5"]
        assert main(["judge", "run", files[0], "--references", *options, "--dry-run"]) == 0
        assert "5 calls with at most" in capsys.readouterr().out and not server.requests
        assert main(["judge", "run", files[0], "--references", *options, "--budget", "1"]) == 0
        out = capsys.readouterr().out
        assert "sft beats reference in" in out and "cost" in out and "what was shown first won in" in out
        assert 0 <= float(out.split("at equal lengths ")[1].split()[0]) <= 100
        assert main(["judge", "run", files[0], "--references", *options, "--dry-run", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "calls": 0,
            "stored": 5,
            "most_prompt_tokens": 0,
            "most_completion_tokens": 0,
            "most_cost": 0.0,
        }
        assert (
            main(["judge", "run", files[0], "--references", *options, "--output", "o.jsonl", "--budget", "1e-9"]) == 1
        )
        assert "The budget of 1e-09 is reached" in capsys.readouterr().err


def test_human_preferences(tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": "p", "chosen": "longer", "rejected": "short", "dataset": "tldr"},
        {"prompt": "p", "chosen": "longer", "rejected": "short", "dataset": "tldr"},
        {"prompt": "p", "chosen": "a", "rejected": "longer", "dataset": "cnn"},
        {
            "prompt": [{"role": "user", "content": "q"}],
            # The whole conversation, as some sets have it.
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "long"}],
            "rejected": [{"role": "assistant", "content": "s"}],
        },
    ]
    with ChatServer() as server:
        options = ["--preferences", "--model", "m", "--base-url", server.url, "--json"]
        assert main(["judge", "run", write(tmp_path / "pairs.jsonl", rows), *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["model"], found["n_wins"], found["n_total"]) == ("chosen", 2, 3)
        assert [row.get("dataset") for row in lines("annotations.jsonl")] == ["tldr", "cnn", None]
        assert {row["generator_2"] for row in lines("annotations.jsonl")} == {"chosen"}
        assert "dataset" not in lines("annotations.jsonl")[2] and lines("annotations.jsonl")[2]["output_2"] == "long"
        assert (
            main(["judge", "validate", "annotations.jsonl", "--humans", str(tmp_path / "pairs.jsonl"), "--json"]) == 0
        )
        assert json.loads(capsys.readouterr().out)["all"]["n_pairs"] == 3
        assert main(["judge", "run", str(tmp_path / "pairs.jsonl"), *options, "--limit", "0"]) == 1
        assert "--limit must be at least 1" in capsys.readouterr().err


def test_known_judgements_are_not_asked_and_files_of_alpaca_eval_are_written(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer() as server:
        command = ["judge", "run", *files, "--model", "m", "--base-url", server.url, "--order", "alpaca_eval", "--json"]
        assert main([*command, "--output", "annotations.json", "--limit", "4"]) == 0
        rows = json.loads(Path("annotations.json").read_text())
        assert len(rows) == 4 and rows[0]["raw_completion"].startswith("[{")
        capsys.readouterr()
        known = ["--known", "annotations.json", "--output", "all.jsonl", "--store", "other.sqlite"]
        assert main([*command, *known, "--dry-run"]) == 0
        assert json.loads(capsys.readouterr().out)["calls"] == 2
        assert main([*command, *known]) == 0
        assert json.loads(capsys.readouterr().out)["answered_now"] == 2
        assert [row["preference"] for row in lines("all.jsonl")] == [2, 2, 2, lines("all.jsonl")[3]["preference"], 1, 1]
        assert len(server.requests) == 6


def test_judges_on_this_machine(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny_tokenizer(chat_template=True)
    reward = str(save_model(tiny_reward_model(), tokenizer, tmp_path / "rm"))
    assert main(["judge", "run", *files, "--reward-model", reward, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_total"] == 6 and found["answered_now"] is None
    assert lines("annotations.jsonl")[0]["annotator"] == "reward_model:rm"
    assert main(["judge", "run", *files, "--reward-model", reward]) == 0
    assert "ppo beats sft" in capsys.readouterr().out
    assert main(["judge", "run", *files, "--reward-model", reward, "--dry-run"]) == 1
    assert "--dry-run prices the calls of an endpoint" in capsys.readouterr().err
    local = str(save_model(tiny_llama(max_position_embeddings=2048), tokenizer, tmp_path / "lm"))
    # So small a model gives no verdict.
    command = ["judge", "run", *files, "--local-model", local, "--answer", "letter", "--json"]
    assert main(command) == 1
    assert "None of the 6 comparisons has an answer that can be read" in capsys.readouterr().err
    assert len(lines("annotations.jsonl")) == 6 and isinstance(lines("annotations.jsonl")[0]["raw_completion"], str)
    assert main([*command, "--reward-model", reward]) == 1
    assert "Give one judge" in capsys.readouterr().err


def test_alpaca_eval_judge(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "prompt.txt").write_text("{instruction}\n<<<\n{output_1}\n>>>\n<<<\n{output_2}\n>>>")
    (folder / "configs.yaml").write_text(
        "mine:\n  prompt_template: prompt.txt\n  fn_completions: openai_completions\n"
        "  completions_kwargs: {model_name: gpt-4-0613, max_tokens: 9, temperature: 0.5}\n"
        "  fn_completion_parser: ranking_parser\n"
    )

    def answer(messages: list[dict[str, str]]) -> str:
        return "[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]"

    with ChatServer(answer=answer) as server:
        assert main(["judge", "run", *files, "--alpaca-eval", str(folder), "--base-url", server.url, "--json"]) == 0
        body = server.requests[0]
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("gpt-4-0613", 9, 0.5)
        assert json.loads(capsys.readouterr().out)["first_shown_wins"] == 0


def test_unreadable_and_missing_answers(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer(answer=lambda messages: "I like both.") as server:
        assert main(["judge", "run", *files, "--model", "m", "--base-url", server.url]) == 1
        assert "None of the 6 comparisons has an answer that can be read, such as 'I like both.'" in (
            capsys.readouterr().err
        )
        assert [row["preference"] for row in lines("annotations.jsonl")] == [None] * 6
        url = server.url
    assert main(["judge", "run", *files, "--model", "other", "--base-url", url, "--max-retries", "0"]) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_options_of_requests(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with ChatServer() as server:
        command = ["judge", "run", *files, "--base-url", server.url, "--json"]
        options = ["--max-tokens", "3000", "--temperature", "none", "--reasoning-effort", "low"]
        body = ["--extra-body", '{"seed": 3, "chat_template_kwargs": {"enable_thinking": false}}']
        assert main([*command, "--model", "m", *options, *body]) == 0
        sent = {name: value for name, value in server.requests[-1].items() if name != "messages"}
        assert sent == {
            "model": "m",
            "max_tokens": 3000,
            "reasoning_effort": "low",
            "seed": 3,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        assert main([*command, "--model", "gpt-5", "--output", "other.jsonl"]) == 0
        assert set(server.requests[-1]) == {"model", "messages", "max_completion_tokens"}
        assert (
            main([*command, "--model", "m", "--max-tokens", "none", "--temperature", "0.5", "--output", "c.jsonl"]) == 0
        )
        assert set(server.requests[-1]) == {"model", "messages", "temperature"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-tokens", "many"], "must be a number, none or auto, not 'many'"),
        (["--temperature", "hot"], "must be a number, none or auto, not 'hot'"),
        (["--extra-body", "{"], "is no JSON"),
        (["--extra-body", "[1]"], "must be an object"),
        (["--extra-body", "[" * 100_000], "is no JSON"),
    ],
)
def test_options_of_requests_that_are_none(
    files: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["judge", "run", *files, "--model", "m", *options])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_why_comparisons_have_no_answer(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ranking = '[{"model": "model_1", "rank": 1}, {"model": "model_2", "rank": 2}]'

    def answer(messages: list[dict[str, str]]) -> str:
        return "<think>Well" if "p2" in messages[-1]["content"] else f"<think>…</think>{ranking}"

    with ChatServer(answer=answer) as server:
        command = ["judge", "run", *files, "--model", "m", "--base-url", server.url]
        assert main(command) == 0
        assert "    1 of these: it was cut off while it was thinking" in capsys.readouterr().out
        (row,) = (row for row in lines("annotations.jsonl") if row["reason"])
        assert row["preference"] is None and row["raw_completion"] == "<think>Well"
        assert main([*command, "--json"]) == 0
        assert list(json.loads(capsys.readouterr().out)["reasons"].values()) == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "m", "--max-tokens", "0"], "max_tokens must be a whole number of at least 1"),
        (["--model", "m", "--temperature", "-1"], "temperature must be 0 or more"),
        (["--local-model", "x", "--temperature", "1"], "--temperature is for an endpoint"),
        ([], "There is no judge; name a model"),
        (["--model", "m", "--references"], "Give outputs of two models, or of one and --references"),
        (["--model", "m", "--output", "a.csv"], "must end in .jsonl"),
        (["--model", "m", "--budget", "1"], "A budget needs prices"),
        (["--model", "m", "--limit", "0"], "--limit must be at least 1"),
        (["--model", "m", "--concurrency", "0"], "concurrency must be at least 1"),
        (["--alpaca-eval", "nowhere"], "There is no nowhere/configs.yaml"),
    ],
)
def test_bad_options(files: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "run", *files, *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"prompt": "p0", "outputs": ["b"]}],
            "5 of the 6 of the first are not among the 1 of the second, such as 'p1'",
        ),
        ([{"prompt": "p0", "outputs": ["b"]}] * 2, "line 2 has the same prompt as"),
        ([{"prompt": "p0", "outputs": []}], 'has [] for "outputs"'),
        ([{"prompt": 5, "outputs": ["b"]}], "prompt, is 5; give text, or a list of messages"),
    ],
)
def test_files_that_do_not_go_together(
    files: list[str], tmp_path: Path, rows: list[dict[str, Any]], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other.jsonl", rows)
    assert main(["judge", "run", files[0], other, "--model", "m"]) == 1
    assert message in capsys.readouterr().err


def test_missing_references(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "run", files[1], "--references", "--model", "m"]) == 1
    assert 'line 1 has no "reference"' in capsys.readouterr().err


def test_a_wrong_key_is_named_but_not_shown(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with ChatServer(key="right") as server:
        assert main(["judge", "run", *files, "--model", "m", "--base-url", server.url]) == 1
        err = capsys.readouterr().err
        assert "refuses the key" in err and "sk-secret" not in err
