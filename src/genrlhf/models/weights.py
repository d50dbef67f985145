"""Reading saved weights into a model that already exists, whole or sharded over processes (FSDP2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from genrlhf.errors import ModelError

__all__ = ["load_weights", "load_whole_state"]


def load_weights(model: Any, folder: Path) -> None:
    """Read the safetensors that `model.save_pretrained` wrote to `folder`: whole, in shards, or of an adapter.

    Raises:
        ModelError: where there are none, or they belong to another model.
    """
    if hasattr(model, "peft_config"):
        _load_adapter(model, folder)
        return
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    files = [SAFE_WEIGHTS_NAME]
    if index.is_file():
        files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    if not all((folder / file).is_file() for file in files):
        raise ModelError(f"There is no {' or '.join(files)} in {folder}; give the folder of a checkpoint.")
    loaded: set[str] = set()
    for file in files:
        state = load_file(folder / file)
        _fill(folder / file, partial(load_whole_state, model, state, strict=False))
        loaded.update(state)
    _refuse_missing(folder, set(model.state_dict()) - loaded - set(getattr(model, "all_tied_weights_keys", None) or {}))


def load_whole_state(module: torch.nn.Module, state: dict[str, torch.Tensor], *, strict: bool = True) -> Any:
    """Do `module.load_state_dict` with whole tensors; what is sharded takes its part of them.

    Every process must call it with the same `state`.
    """
    held = module.state_dict()

    def as_held(name: str, tensor: torch.Tensor) -> torch.Tensor:
        own = held.get(name)
        if not isinstance(own, DTensor) or own.shape != tensor.shape:
            return tensor
        return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)

    parts = {name: as_held(name, tensor) for name, tensor in state.items()}
    return module.load_state_dict(parts, strict=strict)


def _load_adapter(model: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from peft.utils import SAFETENSORS_WEIGHTS_NAME

    file = folder / SAFETENSORS_WEIGHTS_NAME
    if not file.is_file():
        raise ModelError(f"There is no {file.name} in {folder}; give the folder of a checkpoint.")
    state = load_file(file, device=str(model.device))
    _fill(file, partial(set_peft_model_state_dict, model, dict(state)))
    _refuse_missing(folder, set(get_peft_model_state_dict(model)) - set(state))


def _fill(file: Path, load: Callable[[], Any]) -> None:
    """Call `load`, which reports names that the model does not have, and raises `RuntimeError` where shapes differ."""
    try:
        foreign = ", ".join(load().unexpected_keys[:3])
    except RuntimeError as error:
        foreign = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
    if foreign:
        raise ModelError(f"{file} holds weights of another model: {foreign.rstrip('.')}.")


def _refuse_missing(folder: Path, missing: set[str]) -> None:
    if missing:
        raise ModelError(f"{folder} lacks the weights {', '.join(sorted(missing)[:3])} of the model.")
