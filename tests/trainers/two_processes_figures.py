"""What `test_figures_of_two_processes` runs in each of two processes: an epoch of SFT and of a reward model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset

from tests.processes import leave
from tests.trainers.test_reward_model import preferences, reward_trainer
from tests.trainers.test_sft import sft_trainer

ROWS = [{"prompt": "a", "completion": "bc" * n} for n in (1, 9, 2, 12, 5, 3, 7)]
PAIRS = preferences(7, seed=3)


def figures(folder: Path, size: int) -> dict[str, Any]:
    """What both trainers find on seven rows, which do not divide by the batch, and log of one step on eight."""
    found: dict[str, Any] = {}
    for name, make, rows in (("sft", sft_trainer, ROWS), ("reward_model", reward_trainer, PAIRS)):
        settings: dict[str, Any] = {
            "max_steps": 1,
            "per_device_train_batch_size": size,
            "per_device_eval_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "optim": "sgd",  # AdamW's first step makes as much of rounding as of a gradient
            "learning_rate": 0.5,
        }
        sets = {"all": Dataset.from_list(rows), "some": Dataset.from_list(rows[:5])}
        trainer: Any = make(folder / name, rows=[*rows, rows[1]], eval_dataset=sets, **settings)
        trainer.evaluate()  # leaves the gradients of training to be averaged
        trainer.train()
        evaluated = trainer.evaluate()
        found[name] = {
            "logged": trainer.state.log_history[2],
            "evaluated": {k: v for k, v in evaluated.items() if not k.endswith(("per_second", "time"))},
        }
    return found


def main(folder: Path) -> None:
    found = figures(folder, 2)
    (folder / f"figures-{PartialState().process_index}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
