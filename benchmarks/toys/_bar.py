"""What a toy has to show: what its method reaches and its control does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any, TypeAlias

__all__ = ["Claim", "Figures", "Judged", "judge"]

Figures: TypeAlias = Mapping[str, Mapping[str, float]]
"""What `run(seed)` of a toy returns: figures by arm; an arm is the method, a control, or the start."""


@dataclass(frozen=True)
class Claim:
    """An arm passes a bound with a figure at every seed, and its control at none.

    Attributes:
        figure: its name.
        arm: of the method.
        control: what must not pass; None where there is nothing that should not.
        at_least: the bound, where more is better.
        at_most: the bound, where less is better; one of the two.
    """

    figure: str
    arm: str
    control: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def passes(self, value: float) -> bool:
        """Whether a value is on the right side of the bound."""
        if self.at_least is not None:
            return value >= self.at_least
        assert self.at_most is not None
        return value <= self.at_most


@dataclass(frozen=True)
class Judged:
    """What came of a claim over seeds.

    Attributes:
        arm_passes: at every seed.
        control_fails: at every seed; None without a control.
        distance: of the means of arm and control over the seeds.
        spread: largest less smallest value over the seeds, of arm or control, whichever is more; None for one seed.
        holds: all that, and the distance is at least three times the spread.
    """

    arm_passes: bool
    control_fails: bool | None
    distance: float | None
    spread: float | None
    holds: bool


def judge(claim: Claim, by_seed: Mapping[str, Figures]) -> dict[str, Any]:
    """Return a claim and what came of it, as a record."""
    arm = [figures[claim.arm][claim.figure] for figures in by_seed.values()]
    passes, fails, distance, spread = all(map(claim.passes, arm)), None, None, None
    apart = True
    if claim.control is not None:
        control = [figures[claim.control][claim.figure] for figures in by_seed.values()]
        fails = not any(map(claim.passes, control))
        distance = abs(mean(arm) - mean(control))
        if len(by_seed) > 1:
            spread = max(max(values) - min(values) for values in (arm, control))
            apart = distance >= 3 * spread
    holds = passes and fails is not False and apart
    return {**asdict(claim), **asdict(Judged(passes, fails, distance, spread, holds))}
