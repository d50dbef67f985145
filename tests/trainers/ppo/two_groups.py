"""One of two processes that train without a critic: `python -m tests.trainers.ppo.two_groups FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.processes import leave
from tests.trainers.ppo.test_group_advantages import group_trainer
from tests.trainers.runs import weights

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    options = {"num_rollouts": 2, "max_grad_norm": 0.0, "optim": "sgd", "loss_mean": "sequence"}
    trainer = group_trainer(folder, "grpo", per_device_train_batch_size=8, **options)
    trainer.train()
    if trainer.is_world_process_zero():
        torch.save(weights(trainer.accelerator.unwrap_model(trainer.model)), folder / "weights.pt")
    leave()
