"""Tasks by name, and what `genrlhf.data` offers without loading anything heavy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import genrlhf.data
from genrlhf.data import Task, load_task, tldr_prompt, write_rows
from genrlhf.errors import ConfigError


def test_embedded() -> None:
    task = load_task(
        "embedded", seed=3, n_demonstrations=4, n_preferences=3, n_prompts=2, n_validation=1, n_evaluation=1
    )
    assert isinstance(task, Task)
    assert (task.name, len(task.demonstrations), len(task.prompts)) == ("embedded", 4, 2)


def test_labels_are_the_preferences_taken_apart() -> None:
    task = load_task("embedded", n_demonstrations=8, n_preferences=4, n_prompts=8)
    assert task.preferences is not None and task.labels is not None
    assert [(row["prompt"], row["completion"], row["label"]) for row in task.labels] == [
        (row["prompt"], row[side], side == "chosen") for row in task.preferences for side in ("chosen", "rejected")
    ]
    assert dataclasses.replace(task, preferences=None).labels is None


def test_tldr(tmp_path: Path) -> None:
    rows = [{"prompt": tldr_prompt("pets", "cat", f"post {i}"), "completion": f" {i}."} for i in range(10)]
    write_rows(rows, tmp_path / "rows.jsonl")
    task = load_task("tldr", source=tmp_path / "rows.jsonl", n_evaluation=3)
    assert (task.name, len(task.evaluation["id"])) == ("tldr", 3)


def test_unknown_task() -> None:
    with pytest.raises(ConfigError, match=r"no task 'tl;dr'; did you mean 'tldr'\? There are 'embedded', 'tldr', "):
        load_task("tl;dr")
    with pytest.raises(ConfigError, match=r"no task 'zzz'; There are 'embedded', 'tldr', "):
        load_task("zzz")


def test_unknown_option() -> None:
    message = r"task 'tldr' has no option 'max_word'; did you mean 'max_words'\? It has source, columns, "
    with pytest.raises(ConfigError, match=message):
        load_task("tldr", max_word=3)
    with pytest.raises(ConfigError, match=r"task 'embedded' has no option 'source'.* It has seed, n_demonstrations"):
        load_task("embedded", source="x")


def test_every_public_name_is_there() -> None:
    for name in genrlhf.data.__all__:
        assert getattr(genrlhf.data, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        genrlhf.data.nothing  # noqa: B018


def test_nothing_heavy_is_imported() -> None:
    heavy = ("torch", "transformers", "datasets", "nltk", "sentence_transformers", "numpy")
    code = (
        "import sys, genrlhf.data as data\n"
        "[getattr(data, name) for name in data.__all__]\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
