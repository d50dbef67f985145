"""Making the stages of a graph: each once, behind what it needs, and on where a former start stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from genrlhf.errors import ConfigError, excerpt
from genrlhf.launchers import started_processes
from genrlhf.studies.failures import Failures
from genrlhf.studies.folder import InUseError, StudyFolder
from genrlhf.studies.graph import Graph, Stage
from genrlhf.studies.launching import Launcher
from genrlhf.studies.making import Maker, Report, perform
from genrlhf.studies.record import Record
from genrlhf.studies.side_by_side import make_side_by_side
from genrlhf.studies.team import Alone, Team, team_of
from genrlhf.studies.time_left import TimeLeft, spoken

__all__ = ["run"]

_LONGEST_WAIT = 5.0
_TOLD_WITHIN = 1.0
"""Seconds in which the main process can say what went wrong: a launcher ends all once one has ended so."""


def run(
    graph: Graph,
    folder: str | Path,
    *,
    only: Sequence[str] = (),
    launcher: Launcher | None = None,
    report: Report = lambda message: None,
    jobs: int = 1,
    threads: int | None = None,
    remake: Callable[[], Graph] | None = None,
    keep_going: bool = False,
) -> dict[str, Record]:
    """Make the stages that are not done, and return the records of those that were asked for, by name.

    Several processes may do this in one folder at a time, on one machine or on several that share it: each makes what
    no other is at, and waits where that is all. In the processes of a launcher, all run the stages that are `launched`,
    and the main one the others.

    Args:
        graph: the stages.
        folder: of the study; each stage has a folder below its `stages`.
        only: names of stages, where not all are asked for; what they need must be done, or come before. One that
            another process is at is refused, and not waited for: whoever asks for a stage twice would keep a machine
            waiting.
        launcher: makes the stages that are `launched`, in processes of its own.
        report: says in one line what goes on.
        jobs: stages that do not wait for each other are made so many at a time, each in a process of its own; of those
            that can begin, first the one from which the longest path leads to the end. With 1, all are made in this
            process.
        threads: of each of these processes; by default those that torch has here, divided by `jobs`.
        remake: returns the graph once more, where processes cannot be forked (see `genrlhf.studies.workers`); it must
            be such that it can be pickled.
        keep_going: where a stage fails, make all that does not need it, and raise at the end.

    Returns:
        The records; nothing in the processes of a launcher that are not the main one.

    Raises:
        CheckpointError: where a stage that is done is damaged, or the disk is full.
        ConfigError: where `only` names a stage that is not there, or one whose needs are not done.
        GenRLHFError: with `keep_going`, where a stage has failed.
        RunFolderError: where `folder` cannot be written, or another process is at a stage of `only`.
        SystemExit: in a process that is not the main one, where the main one ended with an error.
    """
    for name, value in (("jobs", jobs), ("threads", threads)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name} is {excerpt(value)}; it must be a whole number, 1 or more.")
    if started_processes() > 1:
        for option, given in (("launcher", launcher is not None), ("jobs", jobs > 1), ("keep-going", keep_going)):
            if given:
                raise ConfigError(
                    f"--{option} is for a process that starts others; leave it out where a launcher has started this."
                )
    places = StudyFolder(folder, graph)
    places.create()
    team = team_of(places.folder)
    if isinstance(team, Team) and not team.is_main:
        if status := team.follow(lambda name: _perform_along(graph[name], places)):
            time.sleep(_TOLD_WITHIN)
            raise SystemExit(status)
        return {}
    status = 1
    try:
        asked = [graph[name] for name in dict.fromkeys(only)] or list(graph)
        places.check([*asked, *(need for stage in asked for need in stage.needed)])
        if jobs > 1:
            make_side_by_side(
                asked,
                places,
                launcher,
                report,
                jobs=jobs,
                threads=threads,
                remake=remake,
                only=bool(only),
                keep_going=keep_going,
            )
        else:
            with _threads(threads):
                _Leader(places, team, launcher, report, keep_going=keep_going).make(asked, only=bool(only))
        status = 0
    finally:
        team.dismiss(status)
    return {stage.name: places.record_of(stage) for stage in asked}


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Have torch compute with so many threads for as long as the context lasts; None for those that it has."""
    if number is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Leader:
    """The process that makes one stage after the other, and decides which is the next."""

    def __init__(
        self, places: StudyFolder, team: Alone, launcher: Launcher | None, report: Report, *, keep_going: bool
    ) -> None:
        self.places, self.report = places, report
        self.failures = Failures(keep_going, report)
        self.maker = Maker(places, launcher, report, team)
        self.left = TimeLeft(len(places.graph))
        self.pending: list[Stage] = []

    def make(self, asked: Sequence[Stage], *, only: bool) -> None:
        if only:
            self._make_each(list(asked))
        else:
            self._make_all()
        self.failures.tell()

    def _make_each(self, asked: list[Stage]) -> None:
        while asked:
            stage = asked[0]
            try:
                self._make_now(stage)
                del asked[0]
            except Exception as error:
                self.failures.take(stage, error, asked)

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
            self.left.add(stage, self.places.record_of(stage).seconds)
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
                except Exception as error:
                    self.failures.take(stage, error, self.pending)
                    return None
        return busy

    def _make(self, stage: Stage) -> None:
        """Make a stage, unless another process has made it meanwhile.

        Raises:
            InUseError: another process is at it.
        """
        seconds = self.maker(stage)
        if seconds is None:
            return
        alone = not self.pending
        self._note_done()
        took = f"{stage.name}: done in {spoken(seconds)}"
        self.report(took if alone else f"{took}; {self.left.said(self.pending)}")


def _perform_along(stage: Stage, places: StudyFolder) -> None:
    perform(stage, places, report=lambda said: None, is_main=False)
