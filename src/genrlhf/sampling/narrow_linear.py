"""Faster products of weights with a handful of rows on a processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

__all__ = ["narrow_linear_layers"]


@contextmanager
def narrow_linear_layers(model: nn.Module) -> Iterator[None]:
    """Let float32 linear layers on a CPU compute W xᵀ instead of x Wᵀ, which are the same numbers.

    MKL splits a product among threads by its first dimension, and in a decoding step x has few rows while W has many.
    With one thread there is nothing to split, and nothing changes. `benchmarks/sampling.py` measures what it gains
    (`narrow_linear_ratio`).

    Args:
        model: as it is after the prompts; only plain `nn.Linear` layers change, and they change back. One whose
            `forward` somebody else has replaced stays as it is.
    """
    several = torch.get_num_threads() > 1
    changed = [module for module in model.modules() if several and type(module) is nn.Linear and _applies(module)]
    for module in changed:
        module.forward = partial(_narrow_linear, module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _applies(module: nn.Linear) -> bool:
    weight = module.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and "forward" not in vars(module)


def _narrow_linear(module: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) == 1 or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return nn.functional.linear(x, module.weight, module.bias)
    product = torch.mm(module.weight, rows.t()).t().contiguous()
    if module.bias is not None:
        product += module.bias
    return product.view(*x.shape[:-1], -1)
