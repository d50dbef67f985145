"""One of two processes with a reward that learns: `python -m tests.trainers.ppo.two_learning_rewards FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from tests.processes import leave
from tests.trainers.ppo.test_learning_rewards import Discriminator, trainer_with
from tests.trainers.runs import weights

OPTIONS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "max_grad_norm": 0.0,
    "optim": "sgd",
    "max_new_tokens": 12,
    "save_strategy": "steps",
    "save_steps": 3,
}


def unwrapped(trainer: Any) -> dict[str, torch.Tensor]:
    return weights(trainer.accelerator.unwrap_model(trainer.model))


class Apart(Discriminator):
    """Does not do the same in both."""

    def update(self, rollout: Any) -> None:
        super().update(rollout)
        with torch.no_grad():
            self.net.weight.add_(1.0 + self.process)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.manual_seed(1)
    reward = Discriminator()
    trainer = trainer_with(folder, reward, **OPTIONS)
    trainer.train()
    again = Discriminator()
    resumed = trainer_with(folder, again, **OPTIONS)
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
    same = all(torch.equal(a, b) for a, b in zip(unwrapped(trainer).values(), unwrapped(resumed).values(), strict=True))
    process = trainer.accelerator.process_index
    torch.manual_seed(process)
    apart = Apart()
    apart.process = process  # type: ignore[attr-defined]
    trainer_with(folder / "apart", apart, **OPTIONS).train()
    found = {
        "policy": unwrapped(trainer),
        "reward": weights(reward.net),
        "texts": reward.seen[-1].completions,
        "resumed": same and torch.equal(reward.net.weight, again.net.weight),
        "apart": weights(apart.net),
    }
    torch.save(found, folder / f"found-{trainer.accelerator.process_index}.pt")
    leave()
