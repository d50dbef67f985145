"""Where the host waits for the device: counted on a GPU by torch itself, on a processor by the operations that would.

A wait costs little by itself, but after it the GPU has nothing to do until the host has sent the next operations.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["busy_share", "count_waits"]

ROOT = Path(__file__).parents[1]


class _Waits(TorchDispatchMode):
    """Counts, by the line that asks for them, the operations whose result or whose shape the host has to know."""

    NAMES = frozenset(
        {
            *("aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::masked_select", "aten::equal"),
            *("aten::unique_dim", "aten::_unique2", "aten::repeat_interleave.Tensor", "aten::bincount"),
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.sites: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        overloaded = func._schema.overload_name
        indices = args[1] if name in ("aten::index", "aten::index_put", "aten::index_put_") else ()
        masks = [index for index in indices if index is not None and index.dtype in (torch.bool, torch.uint8)]
        if name in self.NAMES or f"{name}.{overloaded}" in self.NAMES or masks:
            self.sites[_site()] += 1
        return func(*args, **(kwargs or {}))


def _site() -> str:
    """Return the innermost line of the package that is being run, else of anything outside of torch."""
    frame: Any = sys._getframe(2)
    innermost = None
    while frame is not None:
        path = frame.f_code.co_filename
        if "genrlhf" in path and "host_waits" not in path and "_gpu_jobs" not in path:
            return f"{Path(path).name}:{frame.f_lineno}"
        if innermost is None and "/torch/" not in path and __file__ != path:
            innermost = f"{Path(path).name}:{frame.f_lineno}"
        frame = frame.f_back
    return innermost or "?"


def count_waits(function: Callable[[], Any]) -> Counter[str]:
    """Call a function and return how often the host waited, by file and line.

    On a GPU it is what `torch.cuda.set_sync_debug_mode` reports. On a processor nobody waits: counted are the
    operations that would, but for copies between host and device, which cannot be told apart there.
    """
    if not torch.cuda.is_available():
        with _Waits() as waits:
            function()
        return waits.sites
    sites: Counter[str] = Counter()

    def note(message: Any, category: Any, filename: str, lineno: int, *args: Any, **kwargs: Any) -> None:
        if "synchronizing CUDA operation" in str(message):
            sites[_site()] += 1

    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode(before)
            warnings.showwarning = shown
    return sites


def busy_share(function: Callable[[], Any]) -> dict[str, Any]:
    """Call a function under the profiler and return how long the GPU was at work, and with what.

    `busy_share` is of the time of the call, which the profiler makes longer, so the true share is larger.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        wall = time.perf_counter() - start
    events = list(profile.events() or [])
    kernels = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    busy, end = 0.0, float("-inf")
    for first, last in sorted((e.time_range.start, e.time_range.end) for e in kernels):
        busy += max(0.0, last - max(first, end))
        end = max(end, last)
    on_host = Counter[str]()
    for event in events:
        if event.device_type == torch.autograd.DeviceType.CPU:
            on_host[event.name] += event.self_cpu_time_total
    on_device: Counter[str] = Counter()
    for kernel in kernels:
        on_device[kernel.name[:80]] += kernel.time_range.elapsed_us()
    return {
        "seconds": round(wall, 4),
        "busy_seconds": round(busy / 1e6, 4),
        "busy_share": round(busy / 1e6 / wall, 3),
        "kernels": len(kernels),
        "device_us": {name: round(us) for name, us in on_device.most_common(12)},
        "host_us": {name: round(us) for name, us in on_host.most_common(12)},
    }
