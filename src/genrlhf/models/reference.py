"""A frozen copy of a model that shares what will not change."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import nn

from genrlhf.models.autocast import product_weights

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Snapshot", "frozen_copy"]

ModuleT = TypeVar("ModuleT", bound="nn.Module")


class Snapshot(Generic[ModuleT]):
    """A model as it is now, in eval mode, and frozen, whatever becomes of the model itself.

    What the model will train is not known before an adapter is on it and layers are frozen. So the copy has parameters
    of its own from the start, over the memory of the model's, and `settle` decides about each.

    Args:
        model: any module; it is left alone.
        apart: give the copy memory of its own at once, for an adapter that starts by changing the base in place.

    Attributes:
        model: the copy.
    """

    def __init__(self, model: ModuleT, *, apart: bool = False) -> None:
        self._origins: list[tuple[nn.Parameter, nn.Parameter]] = []
        memo: dict[int, Any] = {id(scale): scale for module in model.modules() for scale in _scales(module)}
        for parameter in model.parameters():
            memo[id(parameter)] = self._parameter(parameter, apart)
        self.model: ModuleT = copy.deepcopy(model, memo=memo).eval()

    def _parameter(self, parameter: nn.Parameter, apart: bool) -> nn.Parameter:
        if not parameter.is_floating_point():
            return parameter  # bits of a quantised weight, which nothing trains
        data = parameter.detach()
        own = nn.Parameter(data.clone() if apart else data, requires_grad=False)
        self._origins.append((own, parameter))
        return own

    @torch.no_grad()
    def settle(self, trained: nn.Module) -> ModuleT:
        """Share every parameter that `trained` holds frozen and unchanged, copy the others, and return the copy.

        Args:
            trained: what is going to be trained: the model that the snapshot was taken of, maybe within an adapter, or
                another one.
        """
        held = {id(parameter) for parameter in trained.parameters()}
        products = product_weights(self.model)
        shared: dict[int, nn.Parameter] = {}
        for own, origin in self._origins:
            if id(origin) not in held:
                continue
            if not origin.requires_grad and _equal(own, origin):
                shared[id(own)] = origin
                continue
            if own.data_ptr() == origin.data_ptr():
                own.data = own.data.clone()
            if id(own) not in products:
                # Held otherwise, it would be rounded otherwise, and differ from the model before this has trained.
                own.data = own.data.to(origin.dtype)
        for module in self.model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) in shared:
                    module._parameters[name] = shared[id(parameter)]
        return self.model


def frozen_copy(model: ModuleT) -> ModuleT:
    """Return a frozen copy of `model` in eval mode, whose frozen parameters are the very ones of `model`."""
    return Snapshot(model).settle(model)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape or one.device != other.device:
        return False
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _scales(module: nn.Module) -> Iterable[Any]:
    """Return what a layer of bitsandbytes keeps beside its weight, which never changes."""
    state = getattr(module, "state", None)
    kept = [getattr(module, "quant_state", None), getattr(state, "CB", None), getattr(state, "SCB", None)]
    return [scale for scale in kept if scale is not None]
