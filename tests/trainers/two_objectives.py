"""One of two processes that train by an objective: `python -m tests.trainers.two_objectives token|row|again FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.processes import leave
from tests.trainers.runs import weights
from tests.trainers.test_objective import RowMeans, likelihood, likelihood_twice, trainer

if __name__ == "__main__":
    unit, folder = sys.argv[1], Path(sys.argv[2])
    objective = {"token": likelihood, "row": RowMeans(), "again": likelihood_twice}[unit]
    made = trainer(folder, objective, optim="sgd", max_grad_norm=0.0, per_device_train_batch_size=4)
    made.train()
    if made.is_world_process_zero():
        torch.save(weights(made.accelerator.unwrap_model(made.model)), folder / "weights.pt")
    leave()
