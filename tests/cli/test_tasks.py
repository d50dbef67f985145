"""`genrlhf tasks`: what there is, without loading any of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from genrlhf.cli import main
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
