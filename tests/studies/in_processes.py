"""Runs a study in one of several processes: `python -m tests.studies.in_processes FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from genrlhf.studies import Study
from tests.processes import leave

FEW: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 4, "save_strategy": "no"}
RECIPE: dict[str, Any] = {
    "task": {"name": "embedded", "n_demonstrations": 16, "n_preferences": 2, "n_prompts": 2, "n_evaluation": 5},
    "sampling": {"max_new_tokens": 8, "outputs_per_input": 2, "diversity_inputs": 3, "batch_size": 4},
    "methods": {"sft": FEW, "wise": {"interpolate": {"end": "sft"}}},
}


def run_study(folder: Path, steps: int = 2) -> Any:
    methods = {**RECIPE["methods"], "sft": {**FEW, "per_device_train_batch_size": 8 // steps}}
    return Study(**{**RECIPE, "methods": methods, "output_dir": str(folder)}).run()


if __name__ == "__main__":
    run_study(Path(sys.argv[1]))
    leave()
