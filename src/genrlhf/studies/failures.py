"""Stages that failed, and what is left out for want of them where all else is to be made."""

from __future__ import annotations

from genrlhf.errors import CheckpointError, GenRLHFError
from genrlhf.studies.folder import InUseError
from genrlhf.studies.graph import Stage
from genrlhf.studies.making import Report

__all__ = ["Failures"]

_SAID = 3


class Failures:
    """What has failed of a study so far.

    Args:
        keep_going: make what does not need a stage that failed; else the first failure ends all.
        report: says in one line what goes on.
    """

    def __init__(self, keep_going: bool, report: Report) -> None:
        self.keep_going, self.report = keep_going, report
        self.said: list[str] = []
        self.left_out = 0

    def take(self, stage: Stage, error: BaseException, pending: list[Stage]) -> None:
        """Leave a stage out of what is pending, and all that needs it, or raise its error.

        A full disk, or a process that is gone, would be met again by the next stage, and is raised in any case.
        """
        if not self.keep_going or not isinstance(error, Exception) or isinstance(error, (CheckpointError, InUseError)):
            raise error
        gone = {stage.key}
        for each in pending:
            if any(need.key in gone for need in each.needed):
                gone.add(each.key)
        needing = sum(each.key in gone for each in pending) - 1
        pending[:] = [each for each in pending if each.key not in gone]
        self.left_out += needing
        text = (str(error).splitlines() or [type(error).__name__])[0].removeprefix(f"{stage.name}: ")
        kind = "" if isinstance(error, GenRLHFError) else f"{type(error).__name__}: "
        self.said.append(f"{stage.name}: {kind}{text}")
        self.report(f"{stage.name}: failed (left out for want of it: {needing} stages): {kind}{text}")

    def tell(self) -> None:
        """Raise `GenRLHFError` where anything has failed."""
        if not self.said:
            return
        more = f"; and {len(self.said) - _SAID} more" if len(self.said) > _SAID else ""
        raise GenRLHFError(
            f"Stages that failed: {len(self.said)}; left out for want of them: {self.left_out}; all others are done. "
            f"{'; '.join(self.said[:_SAID])}{more}"
        )
