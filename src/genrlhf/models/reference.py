"""A frozen copy of a model that shares what will not change."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import nn

__all__ = ["frozen_copy"]

ModuleT = TypeVar("ModuleT", bound="nn.Module")


def frozen_copy(model: ModuleT, *, share_all: bool = False) -> ModuleT:
    """Return a frozen copy of `model` in eval mode, whose frozen parameters are the very ones of `model`.

    With the first layers frozen they lie in memory once for policy and reference. With `share_all` every parameter is
    shared: right where an adapter is about to be trained on top and the base stays as it is.

    Args:
        model: any module; its own parameters and mode are left alone.
        share_all: share trainable parameters too.
    """
    shared: dict[int, Any] = {id(p): p for p in model.parameters() if share_all or not p.requires_grad}
    scales = {id(scale): scale for module in model.modules() for scale in _scales(module)}
    duplicate = copy.deepcopy(model, memo={**shared, **scales})
    for parameter in duplicate.parameters():
        if id(parameter) not in shared:
            parameter.requires_grad_(False)
    return duplicate.eval()


def _scales(module: nn.Module) -> list[Any]:
    """Return what a layer of bitsandbytes keeps beside its weight, which never changes."""
    state = getattr(module, "state", None)
    kept = [getattr(module, "quant_state", None), getattr(state, "CB", None), getattr(state, "SCB", None)]
    return [scale for scale in kept if scale is not None]
