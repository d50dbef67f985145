"""What every method that makes a policy has from its loop."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

from tests.helpers import tiny_llama
from tests.methods.everything import OWN, POLICIES, SPLITS, trained, trainer
from tests.processes import run_in_two
from tests.trainers.runs import largest_difference, weights

LORA = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])


@pytest.mark.parametrize("name", POLICIES)
def test_frozen_layers_a_kill_and_accumulation(name: str, tmp_path: Path) -> None:
    options = {"freeze_layers": 0.5}
    whole = trained(trainer(name, tmp_path / "whole", save_strategy="steps", save_steps=1, **options))

    start = weights(tiny_llama())
    changed = {key for key in start if not torch.equal(start[key], whole[key])}
    assert changed and all("layers.1." in key for key in changed)

    # What a kill after the first step leaves.
    shutil.copytree(tmp_path / "whole", tmp_path / "killed", ignore=shutil.ignore_patterns("checkpoint-2"))
    resumed = trainer(name, tmp_path / "killed", save_strategy="steps", save_steps=1, **options)
    resumed.args.resume_from_checkpoint = True
    assert largest_difference(whole, trained(resumed)) == 0

    for batch, accumulation in OWN.get(name, {}).get("splits", SPLITS):
        split = trainer(name, tmp_path / f"{batch}", batch=batch, accumulation=accumulation, **options)
        assert largest_difference(whole, trained(split)) < 1e-6, batch


@pytest.mark.parametrize("name", POLICIES)
def test_an_adapter_alone_is_trained(name: str, tmp_path: Path) -> None:
    after = trained(trainer(name, tmp_path, peft_config=LORA, max_steps=1))
    base = weights(tiny_llama())
    adapters = {key: value for key, value in after.items() if "lora_" in key}
    # Which are 0 before a step.
    assert any(value.any() for key, value in adapters.items() if "lora_B" in key)
    for key in set(after) - set(adapters):
        plain = key.removeprefix("base_model.model.").replace(".base_layer", "")
        assert torch.equal(base[plain], after[key]), key


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    run_in_two("tests.methods.two_of_everything", str(tmp_path))
    for name in POLICIES:
        alone = trained(trainer(name, tmp_path / f"{name} alone", max_steps=1))
        assert largest_difference(alone, load_file(tmp_path / name / "trained.safetensors")) < 1e-5, name
