"""One of two processes that train CARP and CoOp CARP: `python -m tests.trainers.two_carps FOLDER CARP`."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from tests.processes import leave
from tests.trainers.carps import carp, coop
from tests.trainers.runs import weights

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, made in {
        "carp": carp(folder / "carp", per_device_train_batch_size=2, gradient_accumulation_steps=2),
        "coop": coop(folder / "coop", sys.argv[2], per_device_train_batch_size=4),
    }.items():
        made.train()
        if made.is_world_process_zero():
            found = weights(made.accelerator.unwrap_model(made.model))
            save_file({key: value.contiguous() for key, value in found.items()}, folder / f"{name}.safetensors")
    leave()
