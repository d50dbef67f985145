"""Run the study of a YAML file at a size that takes seconds, on the built-in model and generated posts or questions.

    python scripts/smoke_study.py examples/summarise.yaml

The methods, how they depend on each other, and all of their settings but sizes are those of the file.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from genrlhf import load_task
from genrlhf.data import Task, write_rows
from genrlhf.methods import get_method, method_names
from genrlhf.studies import Recipe, Study
from genrlhf.studies.progress import Reporter, quiet_libraries
from genrlhf.studies.recipe import read_recipe

SIZES = {"max_steps": 2, "num_rollouts": 2, "per_device_train_batch_size": 4, "freeze_layers": 0.5}
GROUP = {"samples_per_prompt": 2, "pass_k": 2}
QUESTIONS = {"n_demonstrations": 8, "n_prompts": 8, "n_validation": 2, "n_evaluation": 6}


def posts(task: Task, folder: Path) -> dict[str, Any]:
    """Return a task of posts like those of TL;DR, with few of them."""
    unseen = task.evaluation["unseen_subreddits"].rename_column("reference", "completion")
    write_rows([*task.demonstrations, *unseen], folder / "posts.jsonl")
    return {
        "name": "tldr",
        "source": str(folder / "posts.jsonl"),
        "ood_subreddits": sorted(set(unseen["subreddit"])),
        "n_train": 48,
        "n_validation": 12,
        "n_evaluation": 6,
    }


def small(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return the recipe's fields with a model, posts and sizes that take seconds."""
    task = load_task("embedded", n_demonstrations=96, n_evaluation=24, n_preferences=2, n_prompts=2, n_validation=2)
    found = recipe.model_dump(by_alias=True, exclude_unset=True)
    found["task"] = {**found["task"], **QUESTIONS} if found["task"]["name"] == "open_ended" else posts(task, folder)
    found["sampling"] |= {"max_new_tokens": 24, "outputs_per_input": 2, "diversity_inputs": 3}
    if recipe.preferences is not None:
        found["preferences"]["prompts"] = 40
    for name, entry in found["methods"].items():
        method = entry.get("method", name)
        entry |= {size: value for size, value in GROUP.items() if size in entry or method == "pass_at_k"}
        if method in method_names() and not {"from", "model", "interpolate"} & set(entry):
            known = {field.name for field in fields(get_method(method).config_class())}
            entry |= {size: value for size, value in SIZES.items() if size in known}
    return {**found, "model": task.model, "output_dir": str(folder / "study")}


def main() -> None:
    """Run the studies that the command line names."""
    quiet_libraries()
    for file in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            study = Study(**small(read_recipe(file), Path(folder)))
            results = study.run(Reporter())
            print(f"{file}: {', '.join(results['methods'])} measured by {results['quality']}")


if __name__ == "__main__":
    main()
