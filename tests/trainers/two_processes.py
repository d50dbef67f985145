"""What `test_processes` runs in each of two processes: PPO, PPO resumed within a rollout, and best-of-N."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.processes import leave
from tests.trainers.runs import best_of_n, ppo_trainer, prompt_rows, weights

SETTINGS = {
    "num_rollouts": 2,
    "num_mini_batches": 2,
    "optim": "sgd",
    "save_strategy": "steps",
    "save_steps": 3,
    "freeze_layers": 0.5,
    "samples_per_prompt": 2,
    "whiten_rewards": True,
    "scale_scores": True,
    "kl_target": 0.5,
    "kl_horizon": 50.0,
}


def main(folder: Path) -> None:
    # Seven rows do not divide among the processes, so that their batches are filled up.
    rows = prompt_rows(7)
    trainer = ppo_trainer(folder, per_device_train_batch_size=8, per_device_eval_batch_size=2, **SETTINGS)
    trainer.train()
    trainer.save_model(str(folder / "trained"))
    figures = trainer.evaluate(rows)
    resumed = ppo_trainer(folder, per_device_train_batch_size=8, **SETTINGS)
    resumed.train(resume_from_checkpoint=str(folder / "checkpoint-3"))
    same = all(
        bool((a == b).all())
        for a, b in zip(weights(trainer.policy).values(), weights(resumed.policy).values(), strict=True)
    )
    best = best_of_n(folder / "best", train_dataset=rows, sampling_batch_size=4)
    best.train()
    best.save_model(str(folder / "distilled"))
    report = {
        "processes": trainer.accelerator.num_processes,
        "resumed": same,
        "eval": figures,
        "best": best.sample_training_set()[:],
    }
    (folder / f"report-{trainer.accelerator.process_index}.json").write_text(
        json.dumps({**report, "best": best.sample_training_set()[:], "logs": trainer.state.log_history})
    )
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
