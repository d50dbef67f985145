"""What a trainer logged, kept beside the model that it made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from genrlhf.data.files import replacing
from genrlhf.studies.record import TRAINING_LOG

__all__ = ["TrainingLog", "read_training_log"]


class TrainingLog(TrainerCallback):
    """Writes `training.json`: for each run of a trainer in a folder what it logged, once it has ended.

    A run is known by its own folder below that one: "." or, of a loop with rounds, "iteration-0" and so on.

    Args:
        folder: of the stage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def attach(cls, trainer: Any, folder: Path) -> None:
        """Have `trainer`, or those that it trains by, write there; one that takes no callbacks writes nothing."""
        if hasattr(trainer, "add_callback"):
            trainer.add_callback(cls(folder))
        elif hasattr(trainer, "callbacks"):
            trainer.callbacks = [*(trainer.callbacks or []), cls(folder)]

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the log of the run that has ended, beside those that there are."""
        if not state.is_world_process_zero:
            return
        own = Path(args.output_dir).resolve()
        run = own.relative_to(self.folder.resolve()).as_posix() if own.is_relative_to(self.folder.resolve()) else "."
        runs = {**read_training_log(self.folder), run: state.log_history}
        with replacing(self.folder / TRAINING_LOG) as partial:
            partial.write_text(json.dumps(runs), encoding="utf-8")


def read_training_log(folder: Path) -> Mapping[str, list[dict[str, Any]]]:
    """Return what trainers logged in the folder of a stage, by run and in order; nothing where there is no file."""
    try:
        found: Mapping[str, list[dict[str, Any]]] = json.loads((folder / TRAINING_LOG).read_bytes())
        return found
    except (FileNotFoundError, ValueError):
        return {}
