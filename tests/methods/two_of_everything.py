"""One of two processes that train by every method: `python -m tests.methods.two_of_everything FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from safetensors.torch import save_file

from tests.methods.everything import POLICIES, trained, trainer
from tests.processes import leave

if __name__ == "__main__":
    for name in POLICIES:
        folder = Path(sys.argv[1]) / name
        found = trained(trainer(name, folder, batch=4, max_steps=1))
        if os.environ["RANK"] == "0":
            save_file({key: value.contiguous() for key, value in found.items()}, folder / "trained.safetensors")
    leave()
