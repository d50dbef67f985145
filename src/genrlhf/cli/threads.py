"""How the threads of a command wait for each other; a library leaves that to the program that imports it."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

__all__ = ["CGROUPS", "allowed_processors", "settle_threads"]

CGROUPS = Path("/sys/fs/cgroup")

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_DYNAMIC", "OMP_THREAD_LIMIT")


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have OpenMP's threads sleep while they wait, and be no more than there are processors for.

    By default they wait busily for the next piece of work. A small model is thousands of pieces a second, and on a
    machine with other work each then waits until the operating system has let all threads run for their whole time
    slices. Asleep, they cost some microseconds a piece. Where the environment speaks of either already, that holds; and
    it is read when torch is loaded, so that nothing is set after that.

    Args:
        environment: of the process.
    """
    if "torch" in sys.modules:
        return
    if not any(name in environment for name in _WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    allowed = allowed_processors()
    if allowed is not None and not any(name in environment for name in _COUNTS):
        environment["OMP_NUM_THREADS"] = str(allowed)


def allowed_processors() -> int | None:
    """Return for how many processors a container has time, None where that is no fewer than it sees.

    Libraries count the processors that a process may run on, and know nothing of a quota of their time.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    allowed = seen if quota is None else max(1, math.ceil(quota))
    return allowed if allowed < seen else None


def _quota() -> float | None:
    """Return the processors' time that the control group has a second, in seconds; None for no limit."""
    try:
        second = CGROUPS / "cpu.max"
        if second.is_file():
            used, period = second.read_text(encoding="ascii").split()
        else:
            first = CGROUPS / "cpu"
            used, period = ((first / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        limit = float(used) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        # "max", or no such files.
        return None
    return limit if limit > 0 else None
