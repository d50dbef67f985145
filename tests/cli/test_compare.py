"""`genrlhf compare` as a user meets it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.studies.results import read_results

PROMPTS = [{"prompt": f"q{n} abc", "reference": f"r {n}", "dataset": "id" if n < 4 else "ood"} for n in range(6)]


def written(file: Path, rows: list[Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    return written(tmp_path / "prompts.jsonl", PROMPTS)


@pytest.fixture
def outputs(tmp_path: Path) -> str:
    return written(tmp_path / "o.jsonl", [{**row, "outputs": [f"one {n}", "two"]} for n, row in enumerate(PROMPTS)])


def test_model_and_file_end_to_end(
    tmp_path: Path,
    prompts: str,
    outputs: str,
    causal_lm_folder: Path,
    reward_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(tmp_path / "out")
    command = ["compare", f"m={causal_lm_folder}", f"file={outputs}", "--prompts", prompts, "--output-dir", folder]
    command += ["-n", "2", "--max-new-tokens", "4", "--temperatures", "0.5", "1", "--metrics", "ead"]
    command += ["--reward", str(reward_model_folder), "--judge", "reward", "--free", "file"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split()[:4] == ["T", "PvR", "ID", "PvR"]
    assert "EAD at the quality of m" in printed
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["judge"] == f"reward:{reward_model_folder.name}"
    assert record["settings"]["files"] == {"file": outputs}
    read = read_results(folder)
    assert list(read["methods"]["m"]["temperatures"]) == ["0.5", "1.0"]
    assert read["methods"]["file"]["free"]
    assert read["quality"] == "pvr" and read["sets"] == ["id", "ood"]
    assert main(["report", folder]) == 0


def test_a_task_has_prompts_and_a_gold_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from genrlhf.data import load_task

    task = load_task("embedded")
    folder = str(tmp_path / "out")
    command = ["compare", f"base={task.model}", "--task", "embedded", "--limit", "3", "--judge", "gold", "-n", "2"]
    assert main([*command, "--output-dir", folder, "--max-new-tokens", "8", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record["sets"]) == set(task.evaluation)
    figures = record["methods"]["base"]["temperatures"]["1.0"]
    assert figures["pvr"]["id"]["n"] == 3 and figures["gold"]["id"]["n"] == 3 and "gap" in figures


def test_files_of_other_tools_take_their_prompts_from_the_prompts(
    tmp_path: Path, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # As transformers' text-generation pipeline returns two sequences of each prompt: the prompt and what follows.
    pipeline = [[{"generated_text": f"{row['prompt']} answer {k}"} for k in range(2)] for row in PROMPTS]
    (tmp_path / "pipeline.json").write_text(json.dumps(pipeline))
    folder = tmp_path / "out"
    command = ["compare", f"hf={tmp_path / 'pipeline.json'}", "--prompts", prompts, "--output-dir", str(folder)]
    assert main(command) == 0
    rows = [json.loads(line) for line in (folder / "outputs" / "hf@given" / "ood.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["q4 abc", "q5 abc"]
    assert rows[0]["outputs"] == [" answer 0", " answer 1"]
    assert "begin alike" not in capsys.readouterr().err
    bare = [word for word in command if word not in ("--prompts", prompts)]
    assert main(bare) == 1
    assert "hf, row 0 has no prompt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["only.jsonl"], "'only.jsonl' has no name; write NAME=MODEL_OR_OUTPUTS"),
        (["=only.jsonl"], "has no name"),
        (["a="], "'a=' names no model and no file"),
        (["a={o}", "a={o}"], "'a' names two sources"),
        (["a={o}", "--task", "embedded"], "Give --prompts or --task"),
        (["a={o}", "--judge", "good"], "--judge is 'good'; give gold, reward, local="),
        (["a={o}", "--judge", "local"], "--judge is 'local'"),
        (["a={o}", "--judge", "gold"], "--judge gold needs a task"),
        (["a={o}", "--judge", "reward"], "--judge reward needs the reward model"),
        (["a={o}", "--levels", "inputs"], "--levels has 'inputs'"),
        (["a={o}", "--metrics", ","], "--metrics names nothing"),
        (["a={o}", "--temperatures", "-1"], "temperature must be 0 or more"),
        (["a={o}", "--temperatures", "1", "1.0"], "name each once"),
        (["a={rm}"], "has no language-model head"),
        (["a={o}", "--reward", "{lm}"], "has no trained score"),
    ],
)
def test_wrong_input_is_one_line(
    changed: list[str],
    words: str,
    tmp_path: Path,
    prompts: str,
    outputs: str,
    causal_lm_folder: Path,
    reward_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {"o": outputs, "lm": causal_lm_folder, "rm": reward_model_folder}
    typed = [word.format(**named) for word in changed]
    folder = tmp_path / "out"
    assert main(["compare", *typed, "--prompts", prompts, "--output-dir", str(folder)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and words in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("genrlhf: ")]) == 1
    assert not folder.exists()


def test_interrupted_it_says_what_is_kept(
    tmp_path: Path,
    prompts: str,
    causal_lm_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from genrlhf.studies.compare_figures import Measures

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Measures, "of", interrupted)
    folder = str(tmp_path / "out")
    command = ["compare", f"m={causal_lm_folder}", "--prompts", prompts, "--output-dir", folder]
    assert main([*command, "--max-new-tokens", "4"]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err.splitlines()[-1]


def test_texts_on_standard_input(
    tmp_path: Path,
    prompts: str,
    causal_lm_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = [
        "compare",
        f"m={causal_lm_folder}",
        f"n={causal_lm_folder}",
        "--prompts",
        prompts,
        "-n",
        "1",
        "--kl-from",
        "m",
    ]
    command += ["--levels", "across_input", "--max-new-tokens", "2", "--output-dir", str(tmp_path / "out"), "--json"]
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"text": "abc def"}\n{"text": "gh"}\n')))
    )
    assert main([*command, "--texts", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["texts"] == 2
    assert record["methods"]["n"]["temperatures"]["1.0"]["forgetting"]["increase"]["value"] == pytest.approx(
        0, abs=1e-6
    )
    command[3:4] = ["o=-"]
    assert main([*command, "--texts", "-"]) == 1
    assert "Standard input (-) can be read once" in capsys.readouterr().err
