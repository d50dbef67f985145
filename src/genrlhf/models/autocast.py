"""Which weights autocast casts, and casting those that are frozen once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

__all__ = ["frozen_weights_cast", "product_weights"]

PRODUCTS = (nn.Linear, Conv1D)
"""Layers whose parameters autocast casts, whatever they are held in."""


def product_weights(model: nn.Module) -> set[int]:
    """Return the ids of the parameters that nothing but products reads, so that autocast makes the same of them anyway.

    A head that is tied to the embeddings is none: those are read as they are.
    """
    within: set[int] = set()
    elsewhere: set[int] = set()
    for module in model.modules():
        places = within if type(module) in PRODUCTS else elsewhere
        places.update(id(parameter) for parameter in module._parameters.values() if parameter is not None)
    return within - elsewhere


@contextmanager
def frozen_weights_cast(*models: nn.Module) -> Iterator[None]:
    """Hold the frozen weights of products in autocast's dtype within the context, for many passes of a few tokens.

    Autocast casts a float32 weight before every product, and remembers the result for trained weights only. The numbers
    are the same: embeddings and norms, which autocast leaves alone, stay as they are, and a head that is tied to the
    embeddings gets a weight of its own as long as the context lasts. Does nothing outside of autocast.

    Args:
        models: whole on this process; nothing may be trained within.
    """
    changed: list[tuple[nn.Module, str, nn.Parameter]] = []
    for module in (module for model in models for module in model.modules()):
        for name, parameter in module._parameters.items() if type(module) in PRODUCTS else ():
            if parameter is not None and parameter.dtype == torch.float32 and not parameter.requires_grad:
                changed.append((module, name, parameter))
    casts: dict[int, nn.Parameter] = {}
    try:
        for module, name, parameter in changed:
            if torch.is_autocast_enabled(parameter.device.type):
                dtype = torch.get_autocast_dtype(parameter.device.type)
                if id(parameter) not in casts:
                    casts[id(parameter)] = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
                module._parameters[name] = casts[id(parameter)]
        yield
    finally:
        for module, name, parameter in changed:
            module._parameters[name] = parameter
