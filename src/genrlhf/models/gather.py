"""Whole parameters of a model that is sharded over processes, for use outside its own forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel, register_fsdp_forward_method

from genrlhf.errors import ConfigError

__all__ = ["FIRST_FSDP", "unsharded"]

FIRST_FSDP = (
    "FullyShardedDataParallel (FSDP1) does not give parameters back whole for sampling; use FSDP2: fsdp_version: 2 in "
    "the configuration of accelerate, or fsdp_config={'version': 2}."
)
"""Why a model cannot be sharded by torch's first FSDP."""


def _enter_forward() -> None:
    """Do nothing; stands in for a forward pass, whose hooks are wanted."""


@contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Hold every parameter of `model` whole on every process within the context.

    All processes must enter and leave together; within, they need not do the same: sampling takes as many steps on each
    as its completions are long. Does nothing for a model that is not sharded.

    Args:
        model: the root of `torch.distributed.fsdp.fully_shard`, or any module that is not sharded.

    Raises:
        ConfigError: for a model that is sharded by FSDP1.
    """
    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise ConfigError(FIRST_FSDP)
    if not isinstance(model, FSDPModule):
        yield
        return
    if "enter_forward" not in vars(model):
        if not hasattr(model, "enter_forward"):
            model.enter_forward = _enter_forward  # type: ignore[assignment]
        register_fsdp_forward_method(model, "enter_forward")
    # The root must come first, or its layers would each take themselves for one.
    model.enter_forward()  # type: ignore[operator]
    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    model.set_reshard_after_forward(False)
    for module in sharded:
        module.unshard()
    try:
        yield
    finally:
        model.set_reshard_after_forward(True)
        for module in sharded:
            module.reshard()
