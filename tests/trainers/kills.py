"""A small PPO run that is killed again and again, for `ppo/test_checkpoint.py`: `python -m tests.trainers.kills DIR N`.

Every attempt gets a folder of its own, is killed with SIGKILL at a random moment and resumed. Prints a JSON list of the
step that each went on from, once all have ended in the weights of a run that was let be.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from genrlhf.trainers.checkpoint import newest_complete_checkpoint
from tests.trainers.runs import ppo_trainer

SETTINGS: dict[str, Any] = {
    "num_rollouts": 5,
    "num_ppo_epochs": 3,
    "freeze_layers": 0.5,
    "kl_target": 0.5,
    "kl_horizon": 50.0,
    "scale_scores": True,
    "mask_top_p": 0.9,
    "mask_sync_rollouts": 2,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 2,
}


def run(folder: Path) -> None:
    """Start the run in `folder`, or go on with it."""
    trainer = ppo_trainer(folder, **SETTINGS)
    trainer.train(resume_from_checkpoint=newest_complete_checkpoint(folder) is not None)
    trainer.save_model(str(folder / "final"))


def child(folder: Path) -> int:
    """Do `run` in a process of its own and return its number; torch must not have run in this one."""
    number = os.fork()
    if number:
        return number
    try:
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        run(folder)
    except BaseException as error:
        print(f"{folder}: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def last_step(folder: Path) -> int:
    """Return the step of the newest complete checkpoint, 0 if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newest = newest_complete_checkpoint(folder)
    return 0 if newest is None else int(newest.name.split("-")[1])


def main(folder: Path, kills: int) -> list[int]:
    """Kill and resume `kills` runs, and return the steps they went on from."""
    start = time.monotonic()
    assert os.waitpid(child(folder / "whole"), 0)[1] == 0
    length = time.monotonic() - start
    want = {path.name: path.read_bytes() for path in sorted((folder / "whole" / "final").glob("*.safetensors"))}
    assert len(want) == 2
    generator = random.Random(0)
    steps = []
    while len(steps) < kills:
        place = folder / f"attempt-{len(steps)}"
        number = child(place)
        time.sleep(generator.uniform(0.1, 0.95) * length)
        os.kill(number, signal.SIGKILL)
        if os.waitpid(number, 0)[1] != signal.SIGKILL:
            # It ended before it could be killed.
            shutil.rmtree(place)
            continue
        steps.append(last_step(place))
        assert os.waitpid(child(place), 0)[1] == 0
        for name, content in want.items():
            assert (place / "final" / name).read_bytes() == content, f"{name} differs after a kill at {steps[-1]}"
    return steps


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
