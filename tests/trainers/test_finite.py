"""Weights that became NaN or infinite end a run: before they are logged on, kept or left as a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from genrlhf.errors import ModelError
from genrlhf.trainers.checkpoint import newest_complete_checkpoint
from tests.trainers.runs import ppo_trainer, reward_model_trainer, sft_trainer


class Spoils(TrainerCallback):
    """Makes a layer NaN or infinite after the second step, as an overflow does."""

    def __init__(self, value: float) -> None:
        self.value = value

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            next(p for p in model.parameters() if p.requires_grad).data.fill_(self.value)


def ppo(folder: Path, callbacks: list[TrainerCallback], **settings: Any) -> Any:
    settings.pop("max_steps")
    return ppo_trainer(folder, callbacks=callbacks, num_rollouts=3, **settings)


@pytest.mark.parametrize("make", [sft_trainer, reward_model_trainer, ppo])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_no_trainer_keeps_them(make: Callable[..., Any], value: float, tmp_path: Path) -> None:
    quiet = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1, "logging_strategy": "no"}
    trainer = make(tmp_path, callbacks=[Spoils(value)], **quiet)
    with pytest.raises(ModelError, match=r"^After 2 steps \d+ of \d+ weights hold NaN or infinity, .*learning_rate"):
        trainer.train()
    newest = newest_complete_checkpoint(tmp_path)
    assert newest is not None and newest.name == "checkpoint-1" and not (tmp_path / "model.safetensors").exists()
    with pytest.raises(ModelError, match="After 2 steps"):
        trainer.save_model()
    assert not (tmp_path / "config.json").exists()


def test_logging_finds_them(tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path, callbacks=[Spoils(math.nan)], max_steps=4, logging_steps=1)
    with pytest.raises(ModelError, match="After 2 steps"):
        trainer.train()


def test_a_rollout_finds_them(tmp_path: Path) -> None:
    trainer = ppo_trainer(tmp_path, callbacks=[Spoils(math.nan)], num_rollouts=3, logging_strategy="no")
    with pytest.raises(ModelError, match="logits behind prompt 1 of the batch are NaN"):
        trainer.train()
    assert trainer.state.global_step == 2


def test_frozen_weights_are_no_concern(tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path, max_steps=1)
    frozen = next(trainer.model.parameters()).requires_grad_(False)
    frozen.data[-1] = torch.inf
    trainer.save_model()
    assert (tmp_path / "model.safetensors").exists()
