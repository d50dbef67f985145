"""Reading saved weights into a model that already exists, whole or sharded over processes (FSDP2)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from genrlhf.errors import ModelError

__all__ = ["load_weights", "load_whole_state", "weights_by_own_names"]


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
    names = {name for file in files for name in _names_in(folder / file)}
    if not names <= set(model.state_dict()):
        state = weights_by_own_names(model, folder)
        if state is not None:
            load_whole_state(model, state)
            return
    loaded: set[str] = set()
    for file in files:
        state = load_file(folder / file)
        _fill(folder / file, partial(load_whole_state, model, state, strict=False))
        loaded.update(state)
    _refuse_missing(folder, set(model.state_dict()) - loaded - set(getattr(model, "all_tied_weights_keys", None) or {}))


def _names_in(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as tensors:
        return list(tensors.keys())


def weights_by_own_names(model: Any, folder: Path) -> dict[str, torch.Tensor] | None:
    """Return the weights saved in `folder` by the names that they have in `model`; None where they are another model's.

    transformers saves some families (GPT-NeoX, mixtures of experts) under other names than those of their modules, and
    only its own loading knows the way back.

    Args:
        model: of transformers, whole or sharded.
        folder: of saved weights.
    """
    kind: Any = type(model).__mro__[2] if isinstance(model, FSDPModule) else type(model)
    if not issubclass(kind, PreTrainedModel):
        return None
    try:
        saved, info = kind.from_pretrained(
            folder,
            config=copy.deepcopy(model.config),
            dtype=torch.float32,  # in which nothing is rounded, whatever the weights are held in
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError):
        return None
    if any(info[wrong] for wrong in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        return None
    state: dict[str, torch.Tensor] = saved.state_dict()
    return state


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
