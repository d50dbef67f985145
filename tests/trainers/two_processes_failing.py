"""What `test_processes` runs in each of two processes: checkpoints of which one process cannot write its part."""

from __future__ import annotations

import errno
import faulthandler
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from genrlhf.errors import CheckpointError
from tests.processes import leave
from tests.trainers.runs import ppo_trainer, prompt_rows

PARTS: dict[str, tuple[str, int]] = {
    "what lies beside": ("_save_beside", 1),
    "weights": ("_save", 0),
    "random numbers": ("_save_rng_state", 1),
}
"""The method that fails, and the process that it fails on."""


def failing(trainer: Any, method: str, process: int) -> Any:
    """Have a method of a trainer find no room on one of the processes, from the second checkpoint on."""
    write = getattr(trainer, method)

    def full(*args: Any, **kwargs: Any) -> Any:
        if trainer.args.process_index == process and trainer.state.global_step > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*args, **kwargs)

    return patch.object(trainer, method, full)


def main(folder: Path) -> None:
    for name, (method, process) in PARTS.items():
        trainer = ppo_trainer(
            folder / name,
            eval_dataset=prompt_rows(4),
            per_device_train_batch_size=8,
            save_strategy="steps",
            save_steps=1,
            eval_strategy="steps",
            eval_steps=1,
            metric_for_best_model="objective/scores",
            load_best_model_at_end=True,
        )
        message = "nothing was raised"
        # Whoever waits for a process that waits for it gives up.
        faulthandler.dump_traceback_later(60, exit=True)
        with failing(trainer, method, process):
            try:
                trainer.train()
            except CheckpointError as error:
                message = str(error)
        wanted = "No space left" if trainer.args.process_index == process else "another process failed"
        assert wanted in message, (name, message)
        assert trainer.state.best_global_step, name
        trainer.accelerator.wait_for_everyone()
        assert sorted(path.name for path in (folder / name).glob("checkpoint-*")) == ["checkpoint-1"], name
        faulthandler.cancel_dump_traceback_later()
        print(f"{name}: agreed")
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
