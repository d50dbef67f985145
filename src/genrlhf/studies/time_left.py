"""How long a study will still take, from what its finished stages took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from genrlhf.studies.graph import Stage

__all__ = ["TimeLeft", "spoken"]


class TimeLeft:
    """The mean seconds of the stages of every kind.

    Args:
        total: how many stages there are.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._seconds: dict[str, list[float]] = {}

    def add(self, kind: str, seconds: float) -> None:
        """Note what a stage took."""
        self._seconds.setdefault(kind, []).append(seconds)

    def of(self, stages: Iterable[Stage]) -> tuple[float, bool]:
        """Return the seconds that stages will take one after the other, and whether all of their kinds are known.

        Those of a kind of which none has ended are left out.
        """
        seconds, all_known = 0.0, True
        for stage in stages:
            known = self._seconds.get(stage.kind)
            if known is None:
                all_known = False
            else:
                seconds += sum(known) / len(known)
        return seconds, all_known

    def said(self, pending: Sequence[Stage]) -> str:
        """Return how far the study is, such as "3 of 12 stages done, about 4 min left"."""
        done = f"{self.total - len(pending)} of {self.total} stages done"
        seconds, all_known = self.of(pending)
        if not pending or not seconds:
            return done
        return f"{done}, {'about' if all_known else 'at least'} {spoken(seconds)} left"


def spoken(seconds: float) -> str:
    """Return a time as one says it.

    Example:
        >>> spoken(1.23), spoken(12.3), spoken(247), spoken(9000)
        ('1.2 s', '12 s', '4 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
