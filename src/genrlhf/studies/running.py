"""Making the stages of a graph: each once, behind what it needs, and on where a former start stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from genrlhf.errors import CheckpointError, ConfigError, GenRLHFError
from genrlhf.studies.folder import InUseError, StudyFolder
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.launching import Launcher
from genrlhf.studies.record import Record, write_record
from genrlhf.studies.team import Alone, Team, team_of
from genrlhf.studies.time_left import TimeLeft, spoken

__all__ = ["run"]

Report = Callable[[str], None]

_LONGEST_WAIT = 5.0


def run(
    graph: Graph,
    folder: str | Path,
    *,
    only: Sequence[str] = (),
    launcher: Launcher | None = None,
    report: Report = lambda message: None,
) -> dict[str, Record]:
    """Make the stages that are not done, and return the records of those that were asked for, by name.

    Several processes may do this in one folder at a time, on one machine or on several that share it: each makes what
    no other is at, and waits where that is all. In the processes of a launcher, all run the stages that are `launched`,
    and the main one the others.

    Args:
        graph: the stages.
        folder: of the study; each stage has a folder below its `stages`.
        only: names of stages, where not all are asked for; what they need must be done. One that another process is at
            is refused, and not waited for: whoever asks for a stage twice would keep a machine waiting.
        launcher: makes the stages that are `launched`, in processes of its own.
        report: says in one line what goes on.

    Returns:
        The records; nothing in the processes of a launcher that are not the main one.

    Raises:
        CheckpointError: where a stage that is done is damaged, or the disk is full.
        ConfigError: where `only` names a stage that is not there, or one whose needs are not done.
        RunFolderError: where `folder` cannot be written, or another process is at a stage of `only`.
        SystemExit: in a process that is not the main one, where the main one ended with an error.
    """
    places = StudyFolder(folder, graph)
    places.create()
    team = team_of(places.folder)
    if isinstance(team, Team) and not team.is_main:
        if status := team.follow(lambda name: _perform_along(graph[name], places)):
            raise SystemExit(status)
        return {}
    leader, status = _Leader(places, team, launcher, report), 1
    try:
        records = leader.make(only)
        status = 0
    finally:
        team.dismiss(status)
    return records


class _Leader:
    """The process that decides what is made next."""

    def __init__(self, places: StudyFolder, team: Alone, launcher: Launcher | None, report: Report) -> None:
        self.places, self.team, self.launcher, self.report = places, team, launcher, report
        self.left = TimeLeft(len(places.graph))
        self.pending: list[Stage] = []

    def make(self, only: Sequence[str]) -> dict[str, Record]:
        if self.launcher is not None and isinstance(self.team, Team):
            raise ConfigError("--launcher starts processes; leave it out where a launcher has started this one.")
        graph = self.places.graph
        asked = [graph[name] for name in dict.fromkeys(only)] or list(graph)
        self.places.check([*asked, *(need for stage in asked for need in stage.needed)])
        if only:
            for stage in asked:
                self._make_now(stage)
        else:
            self._make_all()
        return {stage.name: self.places.record_of(stage) for stage in asked}

    def _make_now(self, stage: Stage) -> None:
        missing = [need.name for need in stage.needed if not self.places.is_done(need)]
        if missing:
            raise ConfigError(f"Stage {stage.name} needs {missing[0]}, which is not done; make that first.")
        if self.places.is_done(stage):
            self.report(f"{stage.name}: already there")
        else:
            self._make(stage)

    def _make_all(self) -> None:
        self.pending = list(self.places.graph)
        self._note_done()
        waited = 0.0
        while self.pending:
            busy = self._make_next(self.pending)
            self._note_done()
            if busy is None:
                waited = 0.0
                continue
            if not waited:
                self.report(f"waits: {busy}")
            waited += 0.2
            time.sleep(min(_LONGEST_WAIT, waited))

    def _note_done(self) -> None:
        """Leave out what is pending no more, also by the work of others, and note what it took."""
        for stage in [stage for stage in self.pending if self.places.is_done(stage)]:
            self.left.add(stage.kind, self.places.record_of(stage).seconds)
            self.pending.remove(stage)

    def _make_next(self, pending: Sequence[Stage]) -> InUseError | None:
        """Make the first stage that can be made; where there is none, return who is at one."""
        busy = None
        for stage in pending:
            if all(self.places.is_done(need) for need in stage.needed):
                try:
                    self._make(stage)
                    return None
                except InUseError as error:
                    busy = error
        return busy

    def _make(self, stage: Stage) -> None:
        """Make a stage, unless another process has made it meanwhile.

        Raises:
            InUseError: another process is at it.
        """
        start = time.monotonic()
        launcher = self.launcher if stage.launched else None
        # The lock is for the process that makes the stage; here it is seen that none does.
        with self.places.held(stage) as folder:
            if self.places.is_done(stage):
                return
            self.report(f"{stage.name}: {self.places.begins(stage)}")
            if launcher is None:
                figures = self._run(stage)
                write_record(stage, folder, figures, time.monotonic() - start, self.report)
        if launcher is not None:
            launcher(stage.name, folder, self.report)
            if not self.places.is_done(stage):
                raise CheckpointError(f"{stage.name}: its launcher has ended and the stage is not done; see {folder}.")
        took = f"{stage.name}: done in {spoken(time.monotonic() - start)}"
        alone = not self.pending
        self._note_done()
        self.report(took if alone else f"{took}; {self.left.said(self.pending)}")

    def _run(self, stage: Stage) -> Mapping[str, Any]:
        report = lambda said: self.report(f"{stage.name}: {said}")  # noqa: E731
        perform = partial(_perform, stage, self.places, report=report, is_main=True)
        if not stage.launched:
            return perform()
        self.team.call(stage.name)
        figures = perform()
        self.team.gather()
        return figures


def _perform_along(stage: Stage, places: StudyFolder) -> None:
    _perform(stage, places, report=lambda said: None, is_main=False)


def _perform(stage: Stage, places: StudyFolder, *, report: Report, is_main: bool) -> Mapping[str, Any]:
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
