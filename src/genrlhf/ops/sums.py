"""Sums in the widest type that a device has, and running sums that repeat."""

from __future__ import annotations

import torch

__all__ = ["running_sum", "widened", "widest_dtype"]


def widest_dtype(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on Apple's GPUs, which have nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def widened(values: torch.Tensor) -> torch.Tensor:
    """Return `values` in the widest dtype of their device."""
    return values.to(widest_dtype(values.device))


def running_sum(values: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return the cumulative sums along the last axis.

    CUDA's `cumsum` does not repeat bit for bit, and refuses to run under `torch.use_deterministic_algorithms`. There
    the sums are taken in ⌈log₂ V⌉ passes, each of which adds what stands 1, 2, 4, … places before (Hillis & Steele
    1986, "Data Parallel Algorithms").

    Args:
        values: (…, V) float.
        dtype: of the sums; that of `values` by default.
    """
    if not (values.is_cuda and torch.are_deterministic_algorithms_enabled()):
        return values.cumsum(-1, dtype=dtype)
    return _running_sum_in_passes(values if dtype is None else values.to(dtype))


def _running_sum_in_passes(values: torch.Tensor) -> torch.Tensor:
    sums, step = values, 1
    while step < values.shape[-1]:
        sums = sums + torch.nn.functional.pad(sums[..., :-step], (step, 0))
        step *= 2
    return sums
