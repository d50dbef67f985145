"""What a launcher, `accelerate launch` or `torchrun`, tells the processes that it starts by their environment."""

from __future__ import annotations

import os

__all__ = ["be_alone", "number_of_this_process", "started_processes"]

_TOLD = {
    *("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME"),
}


def started_processes() -> int:
    """Return how many processes a launcher says that it has started, this one among them.

    Clusters set `WORLD_SIZE` for machines, too; only what has started a process tells it its place on its machine.
    """
    return int(os.environ.get("WORLD_SIZE") or 1) if "LOCAL_RANK" in os.environ else 1


def number_of_this_process() -> int:
    """Return the number of this process among them, from 0."""
    return int(os.environ.get("RANK") or 0) if started_processes() > 1 else 0


def be_alone() -> None:
    """Forget the other processes, so that nothing in this one waits for them."""
    for name in list(os.environ):
        if name in _TOLD or name.startswith("TORCHELASTIC_"):
            del os.environ[name]
