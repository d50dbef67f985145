"""Views of a model that share its parameters and have other layers."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

__all__ = ["shallow_copy", "with_layers"]


def shallow_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module that shares its parameters and submodules, and can be given others."""
    # Not copy.copy: sharded modules call their constructor there.
    duplicate: nn.Module = object.__new__(type(module))
    duplicate.__dict__ = {**module.__dict__, "_modules": dict(module._modules)}
    return duplicate


def with_layers(owner: nn.Module, layers: nn.Module, replacement: nn.ModuleList, kept: slice) -> nn.Module:
    """Return a view of `owner` with `replacement` for `layers`, and a config to match."""
    view = shallow_copy(owner)
    config: Any = copy.copy(view.config)
    config.num_hidden_layers = len(replacement)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[kept]

    def descend(module: nn.Module) -> bool:
        if "config" in module.__dict__:
            module.__dict__["config"] = config
        for name, child in module._modules.items():
            if child is layers:
                module._modules[name] = replacement
                return True
            if child is not None and any(part is layers for part in child.modules()):
                module._modules[name] = shallow_copy(child)
                return descend(module._modules[name])  # type: ignore[arg-type]
        return False

    descend(view)
    return view
