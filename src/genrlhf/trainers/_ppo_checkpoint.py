"""What a PPO checkpoint holds beside what the Trainer of transformers writes, and which of them are whole."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.trainer import TRAINER_STATE_NAME

from genrlhf.errors import CheckpointError
from genrlhf.trainers._rollout_data import load_rollout, save_rollout

if TYPE_CHECKING:
    from genrlhf.trainers._masking import LaggingPolicy
    from genrlhf.trainers._ppo_state import PPOState
    from genrlhf.types import Rollout

__all__ = ["PPOCheckpoint", "newest_complete_checkpoint", "removed_on_failure"]


class PPOCheckpoint:
    """The files of PPO in the folder of one checkpoint.

    Args:
        folder: of the checkpoint.
        process_index: of this process, which writes a rollout of its own.
    """

    def __init__(self, folder: Path, process_index: int) -> None:
        self.folder = folder
        self.rollout_file = folder / f"rollout-{process_index}.safetensors"
        self.state_file = folder / "ppo_state.json"
        self.masking_file = folder / "masking_policy.safetensors"

    def save(self, state: PPOState, rollout: Rollout | None, masking: LaggingPolicy | None, *, main: bool) -> None:
        """Write the state, a rollout that is in use, and what a masking policy does not share with the policy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rollout_file.unlink(missing_ok=True)
        if rollout is not None:
            save_rollout(rollout, self.rollout_file)
        if main:
            state.save(self.state_file)
            if masking is not None:
                save_file(masking.own_tensors(), self.masking_file)

    def load_state(self, state: PPOState, masking: LaggingPolicy | None) -> None:
        """Take over the state and the masking policy; checkpoints of older versions have no state."""
        if self.state_file.is_file():
            state.load(self.state_file)
        if masking is not None and self.masking_file.is_file():
            masking.load(load_file(self.masking_file))

    def load_rollout(self, device: Any) -> Rollout:
        """Read the rollout that was in use when the checkpoint was written.

        Raises:
            CheckpointError: where it is not there.
        """
        if not self.rollout_file.is_file():
            raise CheckpointError(
                f"The checkpoint {self.folder} lies between two updates of one rollout, but the rollout is not "
                "beside it; resume from another checkpoint, with the number of processes that wrote it."
            )
        return load_rollout(self.rollout_file, device)


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
