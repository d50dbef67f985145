"""What the folder of a model that PPO trained holds: a policy that loads by itself, and what predicts its values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from genrlhf.models.completions import PolicyWithValue
from genrlhf.models.weights import load_weights, load_whole_state

__all__ = ["load_trained", "save_trained"]

VALUE_HEAD_FILE = "value_head.safetensors"
VALUE_MODEL_FOLDER = "value_model"


def save_trained(trained: PolicyWithValue, folder: Path, state: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write policy and value head, or value model.

    Args:
        trained: both.
        folder: that is there.
        state: whole weights by their names in `trained`, which may be sharded; by default its own.
    """
    weights = trained.state_dict() if state is None else state

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v.contiguous() for k, v in weights.items() if k.startswith(prefix)}

    trained.policy.save_pretrained(folder, state_dict=part("policy."))
    if trained.value_model is None:
        save_file(part("value_head."), folder / VALUE_HEAD_FILE)
    else:
        trained.value_model.save_pretrained(folder / VALUE_MODEL_FOLDER, state_dict=part("value_model."))


def load_trained(trained: PolicyWithValue, folder: Path) -> None:
    """Read what `save_trained` wrote into a model of the same make, whole or sharded."""
    load_weights(trained.policy, folder)
    if trained.value_head is not None:
        load_whole_state(trained.value_head, load_file(folder / VALUE_HEAD_FILE))
    if trained.value_model is not None:
        load_weights(trained.value_model, folder / VALUE_MODEL_FOLDER)
