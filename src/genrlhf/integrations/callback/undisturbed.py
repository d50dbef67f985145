"""Using a model in the middle of its training, which then goes on as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

__all__ = ["evaluating", "random_states_kept", "synchronised"]


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put the random numbers of Python, numpy and torch, on every device, back to where they were at the end."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    xpu = torch.xpu.get_rng_state_all() if torch.xpu.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)
        if xpu is not None:
            torch.xpu.set_rng_state_all(xpu)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode, and every module of it back in the mode that it had at the end."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        # Not by train(), which would have all of them in one mode: frozen parts may have been kept in eval mode.
        for module, mode in before:
            module.training = mode


def synchronised() -> None:
    """Wait until the GPU has done what it was given, so that the time of that is not counted as ours."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
