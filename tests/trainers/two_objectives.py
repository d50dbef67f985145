"""One of two processes that train by objectives: `python -m tests.trainers.two_objectives FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.processes import leave
from tests.trainers.runs import weights
from tests.trainers.test_objective import UNITS, trainer

if __name__ == "__main__":
    for unit, (objective, options) in UNITS.items():
        folder = Path(sys.argv[1]) / unit
        made = trainer(folder, objective, optim="sgd", max_grad_norm=0.0, per_device_train_batch_size=4, **options)
        made.train()
        if made.is_world_process_zero():
            torch.save(weights(made.accelerator.unwrap_model(made.model)), folder / "weights.pt")
    leave()
