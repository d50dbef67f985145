"""What PPO writes beside what the Trainer of transformers does: models, state, and a rollout that is in use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from genrlhf.errors import CheckpointError
from genrlhf.models.policy import PolicyWithValue
from genrlhf.models.weights import load_weights, load_whole_state
from genrlhf.trainers.checkpoint import readable
from genrlhf.trainers.ppo.records import RolloutTensors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from genrlhf.trainers.ppo.masking import LaggingPolicy
    from genrlhf.trainers.ppo.state import PPOState

__all__ = ["VALUE_MODEL_FOLDER", "PPOCheckpoint", "load_trained", "save_trained"]

VALUE_HEAD_FILE = "value_head.safetensors"
VALUE_MODEL_FOLDER = "value_model"


def save_trained(
    trained: PolicyWithValue,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write policy and value head, or value model, and the tokenizer.

    Args:
        trained: both.
        tokenizer: of both.
        folder: that is there.
        state: whole weights by their names in `trained`, which may be sharded; by default its own.
    """
    weights = trained.state_dict() if state is None else state

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v.contiguous() for k, v in weights.items() if k.startswith(prefix)}

    trained.policy.save_pretrained(folder, state_dict=part("policy."))
    tokenizer.save_pretrained(folder)
    if trained.value_head is not None:
        save_file(part("value_head."), folder / VALUE_HEAD_FILE)
    if trained.value_model is not None:
        trained.value_model.save_pretrained(folder / VALUE_MODEL_FOLDER, state_dict=part("value_model."))
        # With the tokens that it reads its folder loads as a reward model's does.
        tokenizer.save_pretrained(folder / VALUE_MODEL_FOLDER)


def load_trained(trained: PolicyWithValue, folder: Path) -> None:
    """Read what `save_trained` wrote into a model of the same make, whole or sharded."""
    load_weights(trained.policy, folder)
    if trained.value_head is not None:
        load_whole_state(trained.value_head, load_file(folder / VALUE_HEAD_FILE))
    if trained.value_model is not None:
        load_weights(trained.value_model, folder / VALUE_MODEL_FOLDER)


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

    def save(
        self, state: PPOState, rollout: RolloutTensors | None, masking: LaggingPolicy | None, *, main: bool
    ) -> None:
        """Write the state, a rollout that is in use, and what a masking policy does not share with the policy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rollout_file.unlink(missing_ok=True)
        if rollout is not None:
            save_file({name: tensor.contiguous() for name, tensor in rollout.tensors.items()}, self.rollout_file)
        if main:
            state.save(self.state_file)
            if masking is not None:
                save_file(masking.own_tensors(), self.masking_file)

    def load_state(self, state: PPOState, masking: LaggingPolicy | None) -> None:
        """Take over the state, and with NLPO the masking policy.

        Raises:
            CheckpointError: where one of them is missing or damaged.
        """
        state.load(self.state_file)
        if masking is not None:
            with readable(self.masking_file):
                masking.load(load_file(self.masking_file))

    def load_rollout(self, device: Any, *, rows: int) -> RolloutTensors:
        """Read the rollout that was in use when the checkpoint was written.

        Args:
            device: where to put it.
            rows: completions that it must have.

        Raises:
            CheckpointError: where it is not there, or another one is.
        """
        if not self.rollout_file.is_file():
            raise CheckpointError(
                f"The checkpoint {self.folder} lies between two updates of one rollout, but the rollout is not "
                "beside it; resume from another checkpoint, with the number of processes that wrote it."
            )
        with readable(self.rollout_file):
            tensors = load_file(self.rollout_file)
            # Copies, since a tensor within a mapped file need not be aligned, on which rounding of a product depends.
            rollout = RolloutTensors(**{name: tensor.to(device, copy=True) for name, tensor in tensors.items()})
            found = len(rollout.completion_ids)
        if found != rows:
            raise CheckpointError(
                f"{self.rollout_file} holds {found} completions, and a rollout of this run has {rows}; resume with the "
                "settings of the run that wrote it."
            )
        return rollout
