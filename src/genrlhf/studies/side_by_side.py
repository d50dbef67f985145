"""Stages that do not wait for each other, made at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from typing import Any

from genrlhf.errors import CheckpointError, ConfigError
from genrlhf.studies.devices import divided, seen
from genrlhf.studies.failures import Failures
from genrlhf.studies.folder import InUseError, StudyFolder
from genrlhf.studies.graph import Graph, Stage
from genrlhf.studies.launching import Launcher
from genrlhf.studies.making import Report
from genrlhf.studies.time_left import TimeLeft, spoken
from genrlhf.studies.workers import Worker, end_all, threads_for

__all__ = ["make_side_by_side"]

_LOOKS = 2.0
"""Seconds between two looks at a stage that another command is at."""


def make_side_by_side(
    asked: Sequence[Stage],
    places: StudyFolder,
    launcher: Launcher | None,
    report: Report,
    *,
    jobs: int,
    threads: int | None,
    remake: Callable[[], Graph] | None,
    only: bool,
    keep_going: bool,
) -> None:
    """Make stages, up to `jobs` at a time, each in a process of its own; see `genrlhf.studies.running.run`."""
    if only:
        _check_needs(asked, places)
    foreman = _Foreman(asked, places, report, jobs=jobs, only=only, keep_going=keep_going)
    if not foreman.pending:
        return
    workers: list[Worker] = []
    try:
        number = min(jobs, len(foreman.pending))
        for devices in divided(seen(), number, launches=launcher is not None):
            given = threads or threads_for(jobs)
            workers.append(Worker(places, launcher, given, remake, devices=devices, beside=workers))
        foreman.make_all(workers)
        foreman.failures.tell()
    finally:
        end_all(workers)


def _check_needs(asked: Sequence[Stage], places: StudyFolder) -> None:
    before: set[str] = set()
    for stage in asked:
        for need in stage.needed:
            if need.key not in before and not places.is_done(need):
                raise ConfigError(f"Stage {stage.name} needs {need.name}, which is not done; make that first.")
        before.add(stage.key)


class _Foreman:
    """Decides who makes what next, and says what is done."""

    def __init__(
        self, asked: Sequence[Stage], places: StudyFolder, report: Report, *, jobs: int, only: bool, keep_going: bool
    ) -> None:
        self.places, self.report, self.only = places, report, only
        self.failures = Failures(keep_going, report)
        self.left = TimeLeft(len(places.graph), jobs)
        self.pending = list(asked)
        self.began: dict[str, float] = {}
        """When the stages that are being made began, by key: two stages of one content are made once."""
        self.elsewhere: dict[str, tuple[float, str]] = {}
        """When stages that another command is at are looked at again, and what is said of them, by key."""
        self.waits = False
        if only:
            for stage in asked:
                if places.is_done(stage):
                    report(f"{stage.name}: already there")
        self._note_done()

    def make_all(self, workers: Sequence[Worker]) -> None:
        """Have the processes make what is pending."""
        by_connection: dict[Any, Worker] = {worker.connection: worker for worker in workers}
        while self.pending:
            for worker in workers:
                if worker.stage is None:
                    if (stage := self._next()) is None:
                        break
                    self.began[stage.key] = time.monotonic()
                    worker.make(stage.name)
            if not self.began:
                self._say_waits()
            soonest = min((when for when, _ in self.elsewhere.values()), default=None)
            patience = None if soonest is None else max(0.05, soonest - time.monotonic())
            told = [self._hear(by_connection[connection]) for connection in wait(list(by_connection), timeout=patience)]
            if not told or any(told):  # what is only said changes nothing
                self._note_done()

    def _next(self) -> Stage | None:
        """Return the most urgent stage that can begin: the one from which the longest path leads to the end."""
        now = time.monotonic()
        urgency = self.left.to_the_end(self.pending)
        ready = [
            stage
            for stage in self.pending
            if stage.key not in self.began
            and self.elsewhere.get(stage.key, (now, ""))[0] <= now
            and all(need.key not in self.began and self.places.is_done(need) for need in stage.needed)
        ]
        return max(ready, key=lambda stage: urgency[stage.key], default=None)

    def _hear(self, worker: Worker) -> bool:
        """Take in what a process tells, and return whether its stage has ended."""
        what, told = worker.told()
        if what == "said":
            self.report(told)
            return False
        stage = self.places.graph[worker.stage or ""] if worker.stage else None
        if stage is None:
            raise told
        worker.stage = None
        del self.began[stage.key]
        if what == "failed":
            self.failures.take(stage, told, self.pending)
            return True
        if what == "busy":
            self._leave_to_others(stage, told)
            return True
        self.waits = False
        self._note_done()
        if told is not None:
            gone = {key: time.monotonic() - start for key, start in self.began.items()}
            took = f"{stage.name}: done in {spoken(told)}"
            self.report(took if self.only else f"{took}; {self.left.said(self.pending, gone)}")
        return True

    def _leave_to_others(self, stage: Stage, reason: str) -> None:
        if self.only:
            raise InUseError(reason)
        self.elsewhere[stage.key] = time.monotonic() + _LOOKS, reason

    def _say_waits(self) -> None:
        """Say for what everybody waits, once."""
        if not self.elsewhere:
            raise CheckpointError(f"{self.pending[0].name}: what it needs was there, and has gone; start again.")
        if not self.waits:
            self.report(f"waits: {next(reason for _, reason in self.elsewhere.values())}")
            self.waits = True

    def _note_done(self) -> None:
        """Leave out what is pending no more, also by the work of others, and note what it took."""
        for stage in [stage for stage in self.pending if self.places.is_done(stage)]:
            # A process writes the record before it says so, and lets go of the lock between.
            if stage.key not in self.began:
                self.left.add(stage, self.places.record_of(stage).seconds)
                self.pending.remove(stage)
                self.elsewhere.pop(stage.key, None)
