from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainingArguments

from genrlhf.errors import RunFolderError
from genrlhf.rewards import WeightedReward, load_reward
from genrlhf.rewards.affine import Calibration, set_calibration
from genrlhf.trainers.run_folder import claim_folder, claim_output_dir, reward_label
from tests.helpers import save_model, tiny_reward_model, tiny_tokenizer


def run(folder: Path, **settings: Any) -> Any:
    args = TrainingArguments(str(folder), use_cpu=True, **settings)
    args.overwrite_output_dir = False
    return SimpleNamespace(args=args)


def test_claim_writes_what_the_folder_holds(tmp_path: Path) -> None:
    assert claim_output_dir(run(tmp_path / "new", learning_rate=0.5), base_model="opt", resuming=False) is False
    written = json.loads((tmp_path / "new" / "genrlhf_run.json").read_text())
    assert written["trainer"] == "SimpleNamespace"
    assert written["base_model"] == "opt"
    assert written["learning_rate"] == 0.5
    # Where and how often a run reports, and how long it is, may change; and no token belongs on the disk.
    assert not {"output_dir", "logging_steps", "max_steps", "hub_token", "report_to"} & set(written)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["genrlhf_run.json"]


def test_same_run_may_go_on(tmp_path: Path) -> None:
    claim_output_dir(run(tmp_path, learning_rate=0.5, max_steps=10), base_model="opt", resuming=False)
    again = run(tmp_path, learning_rate=0.5, max_steps=20, logging_steps=3, save_steps=7)
    assert claim_output_dir(again, base_model="opt", resuming=True) is False


@pytest.mark.parametrize(
    ("settings", "base_model", "message"),
    [
        ({"learning_rate": 0.25}, "opt", r"learning_rate is 0.5 there and 0.25 here"),
        ({"learning_rate": 0.5}, "gpt2", r"base_model is 'opt' there and 'gpt2' here"),
        ({"learning_rate": 0.5, "seed": 7}, "opt", r"seed is 42 there and 7 here"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, settings: dict[str, Any], base_model: str, message: str) -> None:
    claim_output_dir(run(tmp_path, learning_rate=0.5), base_model="opt", resuming=False)
    before = (tmp_path / "genrlhf_run.json").read_bytes()
    other = run(tmp_path, **settings)
    with pytest.raises(RunFolderError, match=message):
        claim_output_dir(other, base_model=base_model, resuming=False)
    assert (tmp_path / "genrlhf_run.json").read_bytes() == before
    other.args.overwrite_output_dir = True
    assert claim_output_dir(other, base_model=base_model, resuming=False) is True
    assert claim_output_dir(other, base_model=base_model, resuming=False) is False


def test_claim_folder_names_what_is_tried_and_the_remedy(tmp_path: Path) -> None:
    claim_folder(tmp_path, {"n": 1}, act="go on", remedy="Choose another.")
    with pytest.raises(
        RunFolderError, match=r"^Cannot go on in .*: it holds another run \(n is 1 there and 2 here\). Ch"
    ):
        claim_folder(tmp_path, {"n": 2}, act="go on", remedy="Choose another.")
    claim_folder(tmp_path / "unwritten", {"n": 1}, act="go on", remedy="", write=False)
    assert not (tmp_path / "unwritten").exists()


def test_reward_labels(tmp_path: Path) -> None:
    def brevity(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return []

    folder = str(save_model(tiny_reward_model(), tiny_tokenizer(), tmp_path / "rm"))
    model = load_reward(folder)
    assert reward_label(brevity) == "brevity"
    assert reward_label(model) == folder
    assert reward_label(WeightedReward([model, brevity], [1, -0.5])) == f"1 {folder} + -0.5 brevity"
    set_calibration(model.model.config, Calibration(0.5, -2.0))
    assert reward_label(model) == f"{folder}, gain 0.5, bias -2"
