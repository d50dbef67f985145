"""At which steps a run is sampled: every so many, or as often as a share of its time allows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from genrlhf.errors import ConfigError, excerpt

__all__ = ["Schedule", "check_every"]


def check_every(every: int | float) -> None:
    """Raise `ConfigError` unless `every` is a number of steps, or a share of the time."""
    steps = isinstance(every, int) and not isinstance(every, bool) and every >= 0
    share = isinstance(every, float) and 0 < every < 1
    if not (steps or share):
        raise ConfigError(
            f"every is {excerpt(every)}; give a number of steps, such as 100 (0: at the start and the end alone), or "
            "a share of the run's time between 0 and 1, such as 0.02."
        )


@dataclass
class Schedule:
    """Says when to sample, from what sampling has taken so far.

    With a share s of the time, the run is sampled at step t once::

        spent + 2 · last <= s · elapsed

    so that this one and the one at the end still fit. The clock is looked at only at some steps, which all processes
    know beforehand: one that decided by its own clock would sample alone.

    Attributes:
        every: steps, or a share of the time.
        decide: agrees with the other processes on what the first of them says.
        clock: the time in seconds.
    """

    every: int | float
    decide: Callable[[Callable[[], tuple[bool, int]]], tuple[bool, int]]
    clock: Callable[[], float] = time.perf_counter
    first_step: int = 0
    started: float = 0.0
    spent: float = 0.0
    last: float = 0.0
    look: int = field(default=0, init=False)

    def start(self, step: int) -> None:
        """Begin at a step."""
        self.first_step, self.look, self.started = step, step + 1, self.clock()

    def took(self, seconds: float) -> None:
        """Count what sampling has taken."""
        self.spent += seconds
        self.last = seconds

    def is_due(self, step: int) -> bool:
        """Say whether to sample after this step."""
        if isinstance(self.every, int):
            return self.every > 0 and step % self.every == 0
        if step < self.look:
            return False
        due, self.look = self.decide(lambda: self._look(step))
        return due

    def _look(self, step: int) -> tuple[bool, int]:
        """Return whether the time has come, and at which step to look again."""
        elapsed, done = self.clock() - self.started, max(1, step - self.first_step)
        missing = (self.spent + 2 * self.last) / self.every - elapsed
        if missing <= 0:
            return True, step + 1
        seconds_a_step = max((elapsed - self.spent) / done, 1e-6)
        # At most twice as far: the first steps may be slower, or faster, than those that follow.
        return False, step + max(1, min(math.floor(missing / seconds_a_step), done))
