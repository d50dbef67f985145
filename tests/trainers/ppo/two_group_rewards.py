"""One of two processes with a reward of groups: `python -m tests.trainers.ppo.two_group_rewards FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.processes import leave
from tests.trainers.ppo.test_group_reward import group_trainer
from tests.trainers.runs import prompt_rows, weights

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    options = {"num_rollouts": 2, "max_grad_norm": 0.0, "optim": "sgd"}
    trainer = group_trainer(folder, per_device_train_batch_size=8, per_device_eval_batch_size=1, **options)
    trainer.train()
    figures = {key: value for key, value in trainer.evaluate(prompt_rows(3)).items() if "objective" in key}
    if trainer.is_world_process_zero():
        found = {"weights": weights(trainer.accelerator.unwrap_model(trainer.model)), "figures": figures}
        torch.save(found, folder / "found.pt")
    leave()
