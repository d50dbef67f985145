"""A model's last layer at the last positions only, where nothing reads what it makes of the others."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from genrlhf.models.structure import decoder_layers, inner_model
from genrlhf.models.views import with_layers

__all__ = ["LastPositions", "at_last_positions", "can_limit"]

_CACHE_NAMES = ("past_key_values", "layer_past")
_ATTENTIONS = ("eager", "sdpa")
_ATTENDING = ("attention", "full_attention", "sliding_attention")


def at_last_positions(model: Any, last: int) -> Any:
    """Return a view of `model` whose last layer runs at the last `last` positions, where `LastPositions` can do that.

    The same inputs give the same outputs there, those before are undefined; it is good for one forward pass.
    """
    owner = inner_model(model)
    layers = decoder_layers(owner)
    if not can_limit(layers[-1], owner.config):
        return model
    kept = [*list(layers)[:-1], LastPositions(layers[-1], last)]
    return with_layers(owner, layers, nn.ModuleList(kept), slice(None))


def can_limit(layer: nn.Module, config: Any) -> bool:
    """Say whether `LastPositions` knows how to run a model's last layer.

    It has to take a cache of keys and values and a mask that can be cut to fewer queries. Hooks, such as those that
    gather a sharded layer, would see a pass that does not end; recomputation in the backward pass forgets the cache.
    """
    kinds = getattr(config, "layer_types", None)
    hooks = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return (
        config._attn_implementation in _ATTENTIONS
        and (not kinds or kinds[-1] in _ATTENDING)
        and _cache_name(layer) is not None
        and not any(hooks)
        and not getattr(layer, "gradient_checkpointing", False)
    )


def _cache_name(layer: nn.Module) -> str | None:
    accepted = inspect.signature(layer.forward).parameters
    return next((name for name in _CACHE_NAMES if name in accepted), None)


class LastPositions(nn.Module):
    """Runs a decoder layer for its last `count` positions, with keys and values of all of them.

    The other positions go no further than to their keys and values: of a layer's products with weights that leaves out
    all but a sixth or so for them, forward and backward. What the last positions get is the same.

    Args:
        layer: for which `can_limit` is true.
        count: at least 1.
    """

    def __init__(self, layer: nn.Module, count: int) -> None:
        super().__init__()
        self.layer = layer
        self.count = count

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the layer does at the last positions, and 0 at the others, (B, L, d)."""
        given = inspect.signature(self.layer.forward).bind(*args, **kwargs).arguments
        given = {**given.pop("kwargs", {}), **given}
        hidden = given.pop("hidden_states")
        length = hidden.shape[1]
        if length <= self.count:
            return self.layer(hidden, **given)
        given["use_cache"] = True
        given[str(_cache_name(self.layer))] = _Keys()
        first = length - self.count
        mask = given.get("attention_mask")
        before, last = hidden.split([first, self.count], dim=1)
        try:
            self.layer(before, **{**_part(given, length, slice(None, first)), "attention_mask": None})
        except _Stop:
            pass
        else:
            raise AssertionError("the layer did not look for keys in its cache")
        if mask is None:
            shape = (self.count, length)
            mask = torch.ones(shape, dtype=torch.bool, device=hidden.device).tril(first)[None, None]
        else:
            mask = mask[:, :, first:]
        found = self.layer(last, **{**_part(given, length, slice(first, None)), "attention_mask": mask})
        return nn.functional.pad(found, (0, 0, first, 0))


def _part(given: dict[str, Any], length: int, positions: slice) -> dict[str, Any]:
    """Return the arguments at some positions, where they have one for every position, (B, L) or (B, L, d)."""

    def cut(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(cut, value))
        if isinstance(value, torch.Tensor) and value.dim() in (2, 3) and value.shape[1] == length:
            return value[:, positions]
        return value

    return {name: cut(value) for name, value in given.items()}


class _Stop(Exception):  # noqa: N818
    """Ends the pass of the positions whose keys and values are known now."""


class _Keys:
    """A cache with which a layer stops after its first keys and values, and then sees them before its second ones."""

    def __init__(self) -> None:
        self.first: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep keys and values, (B, H, L, d), the first time, and join them to those before the second time."""
        if self.first is None:
            self.first = (keys, values)
            raise _Stop
        return torch.cat([self.first[0], keys], dim=2), torch.cat([self.first[1], values], dim=2)
