"""Making one stage: its lock, its work, and the record that says it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from genrlhf.errors import CheckpointError, GenRLHFError
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Stage, StageContext
from genrlhf.studies.launching import Launcher
from genrlhf.studies.record import write_record
from genrlhf.studies.team import Alone

__all__ = ["Maker", "Report", "perform"]

Report = Callable[[str], None]


@dataclass
class Maker:
    """Makes stages in this process, and those that are `launched` in those of a launcher, if there is one.

    Attributes:
        places: where the stages lie.
        launcher: makes the stages that are `launched`, in processes of its own.
        report: says in one line what goes on.
        team: the processes that run what is `launched` along with this one.
    """

    places: StudyFolder
    launcher: Launcher | None
    report: Report
    team: Alone = field(default_factory=Alone)

    def __call__(self, stage: Stage) -> float | None:
        """Make a stage, and return the seconds that it took; None where another process has made it meanwhile.

        Raises:
            InUseError: another process is at it.
        """
        start = time.monotonic()
        launcher = self.launcher if stage.launched else None
        # The lock is for the process that makes the stage; here it is seen that none does.
        with self.places.held(stage) as folder:
            if self.places.is_done(stage):
                return None
            self.report(f"{stage.name}: {self.places.begins(stage)}")
            if launcher is None:
                figures = self._run(stage)
                write_record(stage, folder, figures, time.monotonic() - start, self.report)
        if launcher is not None:
            launcher(stage.name, folder, self.report)
            if not self.places.is_done(stage):
                raise CheckpointError(f"{stage.name}: its launcher has ended and the stage is not done; see {folder}.")
        return time.monotonic() - start

    def _run(self, stage: Stage) -> Mapping[str, Any]:
        report = lambda said: self.report(f"{stage.name}: {said}")  # noqa: E731
        work = partial(perform, stage, self.places, report=report, is_main=True)
        if not stage.launched:
            return work()
        self.team.call(stage.name)
        figures = work()
        self.team.gather()
        return figures


def perform(stage: Stage, places: StudyFolder, *, report: Report, is_main: bool) -> Mapping[str, Any]:
    """Run a stage; an error names it."""
    context = StageContext(
        folders={role: places.of(need) for role, need in stage.needs.items()},
        figures={role: places.record_of(need).figures for role, need in stage.needs.items()},
        report=report,
        is_main=is_main,
    )
    try:
        return stage.run(places.of(stage), context)
    except GenRLHFError as error:
        error.args = (f"{stage.name}: {error}",)
        raise
    except OSError as error:
        if error.strerror is None:
            raise
        where = "" if error.filename is None else f" {error.filename!r}"
        raise CheckpointError(
            f"{stage.name}: {error.strerror}{where}; what was made is kept, and the same command goes on from there."
        ) from error
