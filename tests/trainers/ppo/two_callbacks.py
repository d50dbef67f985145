"""One of two processes with a callback: `python -m tests.trainers.ppo.two_callbacks FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.processes import leave
from tests.trainers.ppo.test_callbacks import Watching
from tests.trainers.runs import ppo_trainer

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    watching = Watching()
    options = {"samples_per_prompt": 4, "num_rollouts": 1, "per_device_train_batch_size": 8}
    trainer = ppo_trainer(folder / "two", callbacks=[watching], **options)
    trainer.train()
    torch.save(watching.rollouts[0].completions, folder / f"seen-{trainer.accelerator.process_index}.pt")
    leave()
