"""What a benchmark ran on, for its record."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["describe_machine"]

PACKAGES = ("genrlhf", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return processor, number of cores, memory, GPU and the versions of the libraries."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # From a checkout, or not there at all.
        spec = importlib.util.find_spec(package)
        return None if spec is None else str(getattr(importlib.import_module(package), "__version__", None))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
