"""How long a study will still take, from what its finished stages took; and which stage to begin first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from genrlhf.studies.graph import Stage

__all__ = ["TimeLeft", "spoken"]

_ROUGH = {"train": 20.0, "preferences": 10.0, "pool": 5.0, "draw": 5.0, "sample": 3.0}
"""Of kinds, beside each other, while nothing is known of them; of others 1."""

_SEED = re.compile(r"/seed-\d+$")


class TimeLeft:
    """The mean seconds of stages, by their name but for the seed, and by their kind.

    Args:
        total: how many stages there are.
        jobs: how many are made at a time.
    """

    def __init__(self, total: int, jobs: int = 1) -> None:
        self.total = total
        self.jobs = jobs
        self._seconds: dict[str, list[float]] = {}

    def add(self, stage: Stage, seconds: float) -> None:
        """Note what a stage took."""
        for known in (stage.kind, _family(stage)):
            self._seconds.setdefault(known, []).append(seconds)

    def known(self, stage: Stage) -> float | None:
        """Return the mean seconds of finished stages of its name with other seeds, else of its kind; None for none."""
        for known in (_family(stage), stage.kind):
            if seconds := self._seconds.get(known):
                return sum(seconds) / len(seconds)
        return None

    def guessed(self, stage: Stage) -> float:
        """Return what is known of a stage, or else what stages of its kind take beside those that are known."""
        known = self.known(stage)
        return known if known is not None else _ROUGH.get(stage.kind, 1.0) * self._scale()

    def _scale(self) -> float:
        kinds = [kind for kind in _ROUGH if self._seconds.get(kind)]
        means = [sum(self._seconds[kind]) / len(self._seconds[kind]) for kind in kinds]
        return sum(means) / sum(_ROUGH[kind] for kind in kinds) if sum(means) > 0 else 1.0

    def to_the_end(self, stages: Sequence[Stage]) -> dict[str, float]:
        """Return for each stage the seconds of the longest path from its beginning to the end of all, by its key.

        Args:
            stages: that are not done, each behind what it needs.
        """
        behind: dict[str, float] = {}
        longest: dict[str, float] = {}
        for stage in reversed(stages):
            longest[stage.key] = self.guessed(stage) + behind.get(stage.key, 0.0)
            for need in stage.needed:
                behind[need.key] = max(behind.get(need.key, 0.0), longest[stage.key])
        return longest

    def of(self, stages: Iterable[Stage]) -> tuple[float, bool]:
        """Return the seconds that stages will take one after the other, and whether something is known of all.

        Those of a kind of which none has ended are left out.
        """
        known = [self.known(stage) for stage in stages]
        return sum(seconds for seconds in known if seconds is not None), None not in known

    def said(self, pending: Sequence[Stage], gone: Mapping[str, float] | None = None) -> str:
        """Return how far the study is, such as "3 of 12 stages done, about 4 min left".

        Args:
            pending: the stages that are not done, each behind what it needs.
            gone: the seconds that those have taken which are being made, by key.
        """
        done = f"{self.total - len(pending)} of {self.total} stages done"
        seconds, all_known = self.of(pending)
        gone = gone or {}
        seconds -= sum(min(gone[stage.key], self.known(stage) or 0.0) for stage in pending if stage.key in gone)
        if self.jobs > 1:
            # With something known of all, no number of jobs is faster than one stage behind the other.
            paths = self.to_the_end(pending) if all_known else {}
            longest = max((path - gone.get(key, 0.0) for key, path in paths.items()), default=0.0)
            seconds = max(seconds / self.jobs, longest)
        if not pending or seconds <= 0:
            return done
        return f"{done}, {'about' if all_known else 'at least'} {spoken(seconds)} left"


def _family(stage: Stage) -> str:
    """Return what tells a stage from others of its kind, whatever its seed; unlike any kind."""
    return f"{stage.kind}:{_SEED.sub('', stage.name)}"


def spoken(seconds: float) -> str:
    """Return a time as one says it.

    Example:
        >>> spoken(1.23), spoken(12.3), spoken(247), spoken(9000)
        ('1.2 s', '12 s', '4 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
