"""The command line: exit statuses, and where it prints."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import genrlhf
from genrlhf.cli import main, win_rate
from genrlhf.studies import Recipe, demo

SMALL = {"n_demonstrations": 16, "n_preferences": 16, "n_prompts": 16, "n_validation": 6, "n_evaluation": 5}


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo at a size that takes seconds."""
    few: dict[str, Any] = {"max_steps": 1, "per_device_train_batch_size": 8, "save_strategy": "no"}

    def recipe(seed: int) -> Recipe:
        ppo = {"num_rollouts": 1, "per_device_train_batch_size": 8, "save_strategy": "no"}
        return Recipe(
            sft=few,
            reward_model=few,
            ppo=ppo,
            n=2,
            max_new_tokens=8,
            outputs_per_input=2,
            diversity_inputs=3,
            seed=seed,
        )

    monkeypatch.setattr(demo, "DEMO_DATA", SMALL)
    monkeypatch.setattr(demo, "demo_recipe", recipe)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for argument, expected in (("--help", "demo"), ("--version", genrlhf.__version__)):
        with pytest.raises(SystemExit) as stopped:
            main([argument])
        assert stopped.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["demo", "--seed", "x"], ["demo", "--seed", "-1"]])
def test_wrong_usage_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert capsys.readouterr().out == ""


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom genrlhf.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'trl', 'numpy'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.usefixtures("small_demo")
def test_demo_prints_one_json_object_and_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", "--output-dir", str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert set(figures["methods"]) == {"sft", "ppo", "best_of_n"}
    assert set(figures["methods"]["ppo"]["gap"]) == {"value", "stderr", "ci", "n"}
    assert "ppo" in printed.err
    for name in ("figures.json", "table.md", "generalisation_diversity.png", "outputs/best_of_n-ood.jsonl"):
        assert (folder / name).is_file()
    assert main(["demo", "--output-dir", str(folder)]) == 0
    printed = capsys.readouterr()
    assert "PvR ID" in printed.out
    assert "already there" in printed.err


@pytest.mark.usefixtures("small_demo")
def test_another_seed_in_the_same_folder_is_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--output-dir", str(tmp_path / "demo")]) == 0
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "demo").rglob("*") if file.is_file()}
    capsys.readouterr()
    assert main(["demo", "--output-dir", str(tmp_path / "demo"), "--seed", "1"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("genrlhf: ")
    assert printed.err.count("\n") == 1
    assert "seed is 0 there and 1 here" in printed.err
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_errors_of_the_operating_system_are_told_in_one_line(capsys: Any, monkeypatch: Any) -> None:
    def full(args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "out.jsonl")

    monkeypatch.setattr(win_rate, "run", full)
    assert main(["win-rate", "annotations.json"]) == 1
    assert (
        capsys.readouterr().err == "genrlhf: out.jsonl: No space left on device; choose another place, or make room.\n"
    )

    def nameless(args: Any) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(win_rate, "run", nameless)
    assert main(["win-rate", "annotations.json"]) == 1
    assert capsys.readouterr().err == "genrlhf: Read-only file system; name another file.\n"

    def wordy(args: Any) -> int:
        raise OSError("no/model is not a folder\nor a name on the hub.")

    monkeypatch.setattr(win_rate, "run", wordy)
    assert main(["win-rate", "annotations.json"]) == 1
    assert capsys.readouterr().err == "genrlhf: no/model is not a folder or a name on the hub.\n"
