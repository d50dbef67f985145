"""The state of an object as two files, JSON of plain values and safetensors: nothing in them runs code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from genrlhf.errors import ConfigError

__all__ = ["check_state", "keeps_state", "learns_along", "load_state", "on_cpu", "save_state", "state_digest"]

VALUES, TENSORS = "state.json", "state.safetensors"


def keeps_state(value: Any) -> Literal["dict", "folder"] | None:
    """Say how an object gives its state away: `state_dict` and `load_state_dict`, `save` and `load`, or not at all."""
    if _has(value, "state_dict", "load_state_dict"):
        return "dict"
    return "folder" if _has(value, "save", "load") else None


def learns_along(value: Any) -> bool:
    """Say whether an object is a reward that learns from rollouts, by its method `update`."""
    return _has(value, "update") and not isinstance(value, (type, Mapping))


def _has(value: Any, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)


def check_state(state: Any, *, name: str) -> None:
    """Raise `ConfigError` for a state that `save_state` cannot write, saying where it holds what.

    Args:
        state: tensors, numbers, text, True, False and None, in dictionaries, lists and tuples.
        name: what it is the state of, for messages.
    """
    _Encoder(name).encode(state, "")


def save_state(state: Any, folder: Path, *, name: str) -> None:
    """Write a state to a folder, which is made.

    Raises:
        ConfigError: as `check_state` does.
    """
    encoder = _Encoder(name)
    values = encoder.encode(state, "")
    folder.mkdir(parents=True, exist_ok=True)
    # Clones, since two names of one tensor are refused.
    save_file(
        {key: each.detach().cpu().clone().contiguous() for key, each in encoder.tensors.items()}, folder / TENSORS
    )
    (folder / VALUES).write_text(json.dumps(values), encoding="utf-8")


def load_state(folder: Path) -> Any:
    """Read what `save_state` wrote; tensors are on the CPU."""
    tensors = load_file(folder / TENSORS)
    return _decoded(json.loads((folder / VALUES).read_text(encoding="utf-8")), tensors)


def on_cpu(state: Any) -> Any:
    """Return a state whose tensors lie on the CPU, to be handed to another process."""
    encoder = _Encoder("a state")
    values = encoder.encode(state, "")
    return _decoded(values, {key: tensor.detach().cpu() for key, tensor in encoder.tensors.items()})


def state_digest(state: Any, *, name: str) -> str:
    """Return what tells a state from others, whatever device its tensors are on."""
    encoder = _Encoder(name)
    digest = hashlib.sha256(json.dumps(encoder.encode(state, "")).encode())
    for key, tensor in encoder.tensors.items():
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class _Encoder:
    """Takes the tensors out of a state, and tags its containers, so that JSON gives each back as what it was."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tensors: dict[str, torch.Tensor] = {}

    def encode(self, value: Any, where: str) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized:
            self.tensors[str(len(self.tensors))] = value
            return {"tensor": str(len(self.tensors) - 1)}
        if isinstance(value, Mapping):
            pairs = [[self.encode(k, f"{where}[{k!r}]"), self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]
            return {"mapping": pairs}
        if type(value) in (list, tuple):
            kind = type(value).__name__
            return {kind: [self.encode(item, f"{where}[{place}]") for place, item in enumerate(value)]}
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise ConfigError(
            f"The state of {self.name} holds a {kind} at state_dict(){where}; a checkpoint keeps tensors, numbers, "
            "text and None, in dictionaries, lists and tuples."
        )


def _decoded(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "mapping":
        return {_decoded(key, tensors): _decoded(item, tensors) for key, item in content}
    items = [_decoded(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
