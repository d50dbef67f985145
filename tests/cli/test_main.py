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
from genrlhf.studies import demo

SMALL = """
task: {name: embedded, n_demonstrations: 16, n_preferences: 16, n_prompts: 16, n_validation: 6, n_evaluation: 5}
sampling: {max_new_tokens: 8, outputs_per_input: 2, diversity_inputs: 3}
metrics: [ead, distinct]
methods:
  sft: &few {max_steps: 1, per_device_train_batch_size: 8, save_strategy: "no"}
  reward_model: {<<: *few, start: sft}
  ppo: {start: sft, reward: reward_model, num_rollouts: 1, per_device_train_batch_size: 8, save_strategy: "no"}
  best_of_n: {from: sft, sampling: {best_of_n: 2, reward: reward_model}}
"""


@pytest.fixture
def small_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo at a size that takes seconds."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL, encoding="utf-8")
    monkeypatch.setattr(demo, "DEMO", file)


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
    assert set(figures["methods"]["ppo"]) == {"pvr", "gap", "gaps", "reward", "gold", "kl", "diversity"}
    assert set(figures["methods"]["ppo"]["gap"]) == {"value", "stderr", "ci", "n"}
    assert set(figures["judge_validation"]) >= {"id", "all"}
    assert set(figures["stages"]) == {"sft", "reward_model", "ppo"}
    assert 0 <= figures["stages"]["reward_model"]["held_out_accuracy"] <= 1
    assert "ppo" in printed.err
    for name in ("figures.json", "results.json", "table.md", "generalisation_diversity.png", "reward_kl.png"):
        assert (folder / name).is_file()
    for name in ("best_of_n-ood", "best_of_n-id-pool", "sft-id"):
        assert (folder / "outputs" / f"{name}.jsonl").is_file()
    assert main(["demo", "--output-dir", str(folder)]) == 0
    printed = capsys.readouterr()
    assert "PvR ID" in printed.out
    assert "training" not in printed.err


@pytest.mark.usefixtures("small_demo")
def test_another_seed_in_the_same_folder_has_stages_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "demo")
    shown = []
    for seed in ("0", "1", "0"):
        stages = {file: file.stat().st_mtime_ns for file in (tmp_path / "demo").rglob("stage.json")}
        assert main(["demo", "--output-dir", folder, "--seed", seed, "--json"]) == 0
        shown.append(json.loads(capsys.readouterr().out)["methods"])
        assert {file: file.stat().st_mtime_ns for file in stages} == stages
    assert shown[0] == shown[2] != shown[1]


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
