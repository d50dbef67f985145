"""`genrlhf tasks`: what there is, without loading any of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from genrlhf.cli import main
from genrlhf.data.files import write_rows
from genrlhf.data.tasks.registry import TASKS, get_task_info


def test_the_table_has_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in TASKS:
        (line,) = [line for line in lines if line.split()[0] == name]
        assert all(part in line for part in get_task_info(name).sets)
    assert "4000 demonstrations, 4000 preferences, 2000 prompts" in next(x for x in lines if x.startswith("embedded"))
    assert "unknown until loaded" in next(line for line in lines if line.startswith("tldr"))


def test_json_has_prompt_filters_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--json"]) == 0
    tasks = json.loads(capsys.readouterr().out)
    assert list(tasks) == list(TASKS)
    assert tasks["embedded"]["rows"]["ood"] == 500 and tasks["tldr"]["rows"] is None
    assert "max_words" in tasks["tldr"]["options"]
    assert all(task["prompt"] and task["filters"] and task["needs"] and task["about"] for task in tasks.values())


def test_nothing_heavy_is_imported() -> None:
    heavy = ("torch", "transformers", "datasets", "nltk", "numpy")
    code = (
        "import sys; from genrlhf.cli import main; main(['tasks', '--json'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_shifts_of_a_task_and_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"--option={name}={n}" for name, n in (("n_evaluation", 6), ("n_demonstrations", 8), ("n_prompts", 12))]
    assert main(["tasks", "embedded", "--shifts", "--json", *sizes, "--option", "n_preferences=4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["from"] == "id" and found["prompts"]["training prompts"] == 12
    assert list(found["shifts"]) == ["ood", "longer", "unseen_subreddits", "training prompts"]
    assert found["shifts"]["ood"]["words"]["value"] > found["shifts"]["training prompts"]["words"]["value"]
    for name, texts in (("near", ["a b", "b c d"]), ("far", ["x y z", "y"])):
        write_rows([{"prompt": text} for text in texts], tmp_path / f"{name}.jsonl")
    files = [f"{name}={tmp_path / name}.jsonl" for name in ("near", "far")]
    assert main(["tasks", "--shifts", *files]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["from", "near", "(2)", "prompts", "words", "length"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shifts"], "one task, or two or more sets"),
        (["--shifts", "embedded", "tldr"], "one task, or two or more sets"),
        (["--shifts", "a=b.jsonl", "a=c.jsonl"], "Name each set once"),
        (["--shifts", "embedded", "--option", "n_evaluation"], "write KEY=VALUE"),
        (["embedded", "--encoder", "x"], "go with --shifts"),
    ],
)
def test_what_shifts_cannot_be_of(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", *words]) == 1
    assert said in capsys.readouterr().err
