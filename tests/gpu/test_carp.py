"""CARP and CoOp CARP train on a GPU what they train on a processor, and reward alike; without a GPU one case stands.

Models begin as the same on both: random weights are drawn on the processor.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from genrlhf.rewards import CARPReward, load_reward
from tests.trainers.carps import carp, coop, pairs, saved_carp
from tests.trainers.runs import ppo_trainer, weights

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
HERE: dict[str, Any] = {"use_cpu": not ON_GPU}
EXACT: dict[str, Any] = {**HERE, **({"bf16": False, "tf32": False} if ON_GPU else {})}

# `start` is the folder of a CARP model.
RUNS: dict[str, Any] = {
    "micro-batches": lambda folder, start, **given: carp(
        folder, per_device_train_batch_size=4, gradient_accumulation_steps=2, **given
    ),
    "whole steps": lambda folder, start, **given: carp(folder, **given),
    "without projections": lambda folder, start, **given: carp(folder, latent_size=None, pooling="last", **given),
    "lora": lambda folder, start, **given: carp(
        folder, peft_config=LoraConfig(r=2, target_modules=["query", "value"]), **given
    ),
    "coop": lambda folder, start, **given: coop(folder, start, context_size=3, **given),
    "coop of clusters": lambda folder, start, **given: coop(
        folder, start, rows=pairs().remove_columns(["label", "distribution"]), num_classes=2, context_size=3, **given
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Those of CARP and CoOp CARP, trained on a processor."""
    folder = tmp_path_factory.mktemp("carp")
    saved_carp(folder / "carp", critique="good")
    coop(folder / "coop", folder / "carp", target="kind", context_size=3, save_strategy="steps").train()
    return folder / "carp", folder / "coop"


def trained(made: Any) -> dict[str, torch.Tensor]:
    made.train()
    return {name: weight.cpu() for name, weight in weights(made.accelerator.unwrap_model(made.model)).items()}


@pytest.mark.parametrize("name", list(RUNS) if ON_GPU else ["micro-batches"])
def test_a_gpu_trains_what_a_processor_trains(name: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    processor = trained(RUNS[name](tmp_path / "processor", folders[0]))
    made = RUNS[name](tmp_path / "device", folders[0], **EXACT)
    began = {key: weight.cpu() for key, weight in weights(made.model).items()}
    device = trained(made)
    assert made.accelerator.device.type == DEVICE and set(processor) == set(device)
    assert max(float((device[key] - began[key]).abs().max()) for key in device) > 1e-4
    for key, weight in processor.items():
        torch.testing.assert_close(device[key], weight, rtol=0, atol=1e-5, msg=key)


def test_a_reward_is_the_same_and_a_policy_learns_from_it(folders: tuple[Path, Path], tmp_path: Path) -> None:
    texts = ["abab", "xyxy", "", "q" * 70, "abab"]
    for folder in folders:
        wanted = load_reward(folder)(["q"] * 5, texts)
        assert load_reward(folder, device=DEVICE)(["q"] * 5, texts) == pytest.approx(wanted, abs=2e-6)
    trainer = ppo_trainer(tmp_path / "ppo", reward=str(folders[1]), num_rollouts=1, **HERE)
    before = {name: weight.cpu() for name, weight in weights(trainer.policy).items()}
    trainer.train()
    # By default the policy computes in bfloat16 where there is a GPU; the reward does not.
    wrapped: Any = trainer.collector.reward
    reward = wrapped.function
    assert isinstance(reward, CARPReward) and reward.model.device.type == DEVICE
    assert {weight.dtype for weight in reward.model.parameters()} == {torch.float32}
    assert any(not torch.equal(before[name], weight.cpu()) for name, weight in weights(trainer.policy).items())


def test_precision_by_default_learns(tmp_path: Path) -> None:
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 1}
    made = carp(tmp_path, max_steps=12, learning_rate=0.1, **settings, **HERE)
    made.train()
    losses = [row["loss"] for row in made.state.log_history if "loss" in row]
    assert made.args.bf16 == ON_GPU and all(map(math.isfinite, losses)) and losses[-1] < losses[0]
