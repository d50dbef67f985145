"""Which GPUs each of several processes sees that work side by side."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

__all__ = ["divided", "seen", "shown"]


def seen() -> list[str]:
    """Return the GPUs that this process sees, as `CUDA_VISIBLE_DEVICES` names them."""
    torch = sys.modules.get("torch")
    count = 0 if torch is None else int(torch.cuda.device_count())
    told = [name.strip() for name in os.environ.get(_variable(), "").split(",")]
    return (told if any(told) else [str(number) for number in range(count)])[:count]


def divided(devices: Sequence[str], processes: int, *, launches: bool) -> list[list[str] | None]:
    """Return the GPUs of each of several processes; None leaves it those that this one sees.

    One each, in turn, since a Trainer takes all that it sees for one process; of a process that starts others by a
    launcher an equal part, where there are enough.

    Example:
        >>> divided(["0", "1", "2", "3"], 2, launches=False)
        [['0'], ['1']]
        >>> divided(["0", "1", "2", "3"], 2, launches=True)
        [['0', '1'], ['2', '3']]
        >>> divided(["0", "1"], 3, launches=False)
        [['0'], ['1'], ['0']]
    """
    if not devices or (launches and len(devices) < processes):
        return [None] * processes
    if not launches:
        return [[devices[number % len(devices)]] for number in range(processes)]
    each = len(devices) // processes
    return [list(devices[number * each : (number + 1) * each]) for number in range(processes)]


@contextlib.contextmanager
def shown(devices: Sequence[str] | None) -> Iterator[None]:
    """Have processes that are started meanwhile see these GPUs alone; None leaves them those that this one sees."""
    if devices is None:
        yield
        return
    variable = _variable()
    before = os.environ.get(variable)
    os.environ[variable] = ",".join(devices)
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _variable() -> str:
    torch = sys.modules.get("torch")
    return "HIP_VISIBLE_DEVICES" if torch is not None and torch.version.hip else "CUDA_VISIBLE_DEVICES"
