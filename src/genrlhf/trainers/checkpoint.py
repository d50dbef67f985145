"""Which checkpoints are whole, and what becomes of those that could not be written."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers.trainer import TRAINER_STATE_NAME

from genrlhf.errors import CheckpointError

__all__ = ["is_complete", "newest_complete_checkpoint", "removed_on_failure"]


def is_complete(folder: Path) -> bool:
    """Say whether a checkpoint was written to its end: the state of the Trainer comes last."""
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def newest_complete_checkpoint(output_dir: Path) -> Path | None:
    """Return the newest checkpoint in `output_dir` that is whole, or None; a warning names those that are not."""
    numbers = {
        int(path.name.removeprefix("checkpoint-")): path
        for path in output_dir.glob("checkpoint-*")
        if path.is_dir() and path.name.removeprefix("checkpoint-").isdigit()
    }
    for number in sorted(numbers, reverse=True):
        if is_complete(numbers[number]):
            return numbers[number]
        warnings.warn(f"{numbers[number]} was cut off while it was written, and is passed over.", stacklevel=2)
    return None


@contextmanager
def removed_on_failure(folder: Path) -> Iterator[None]:
    """Remove a checkpoint that could not be written, and say so."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CheckpointError(
            f"The checkpoint {folder} could not be written ({error}), and what there was of it has been removed; "
            "earlier ones are untouched. Make room, and go on with resume_from_checkpoint=True."
        ) from error
