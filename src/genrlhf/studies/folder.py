"""The folder of a study: where each stage lies, how far it is, and what is left there of other studies."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from genrlhf.data.lock import locked
from genrlhf.data.log import differences, said_when_full
from genrlhf.errors import CheckpointError, RunFolderError
from genrlhf.studies.graph import Graph, Stage
from genrlhf.studies.record import RECORD, Record, flaw_of, read_record

__all__ = ["InUseError", "StudyFolder"]

STAGES = "stages"
_PLACE = re.compile(r".+-([0-9a-f]{8})")


class InUseError(RunFolderError):
    """Another process is at a stage."""


class StudyFolder:
    """The stages of a graph in a folder.

    A stage that is done lies where it was made, also under the name that it had then: it is known by its key.

    Args:
        folder: of the study.
        graph: its stages.

    Raises:
        RunFolderError: where `folder` cannot be one.
    """

    def __init__(self, folder: str | Path, graph: Graph) -> None:
        self.folder = Path(folder)
        self.graph = graph
        try:
            made = {place.name[-8:]: place for place in self._places()}
        except OSError as error:
            raise self._unusable(error) from error
        self._place: dict[str, Path] = {}
        for stage in graph:
            own = self.folder / STAGES / stage.place
            other = made.get(stage.key[:8])
            if stage.key not in self._place:
                use_other = not own.is_dir() and other is not None and _is_of(other, stage)
                self._place[stage.key] = other if use_other and other is not None else own

    def create(self) -> None:
        """Make the folder of the study.

        Raises:
            RunFolderError: where it cannot be.
        """
        try:
            (self.folder / STAGES).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            f"The study's folder {self.folder} cannot be used ({error.strerror or error}); choose another one."
        )

    def of(self, stage: Stage) -> Path:
        """Return the folder of a stage, whether it is there or not."""
        return self._place[stage.key]

    @contextmanager
    def held(self, stage: Stage) -> Iterator[Path]:
        """Keep other processes from a stage as long as the context lasts, and return its folder, made if missing.

        Raises:
            InUseError: another process is at it.
            CheckpointError: the folder cannot be written.
        """
        folder = self.of(stage)
        lock = locked(folder, remedy="wait until it has made the stage, or stop it")
        try:
            with said_when_full(folder):
                folder.mkdir(parents=True, exist_ok=True)
                lock.__enter__()
        except RunFolderError as error:
            raise InUseError(f"{stage.name}: {error}") from None
        try:
            yield folder
        finally:
            lock.__exit__(None, None, None)

    def record_of(self, stage: Stage) -> Record:
        """Return the record of a stage that is done.

        Raises:
            CheckpointError: where it is damaged, another stage's, or not there.
        """
        folder = self.of(stage)
        record = read_record(folder)
        if record is None:
            raise CheckpointError(f"Stage {stage.name} is not done: there is no {folder / RECORD}.")
        if record.key != stage.key:
            raise CheckpointError(str(flaw_of(stage, folder)))
        return record

    def is_done(self, stage: Stage) -> bool:
        """Say whether a stage is done, without looking at its files."""
        return (self.of(stage) / RECORD).is_file()

    def state_of(self, stage: Stage) -> str:
        """Return "done", "begun" or "missing"."""
        return "done" if self.is_done(stage) else "begun" if self.of(stage).is_dir() else "missing"

    def begins(self, stage: Stage) -> str:
        """Say how a stage begins: anew, or on, and what differs from the one that its name had before."""
        if any(file for file in self.of(stage).iterdir() if not file.name.startswith(".")):
            return "goes on"
        start = self.folder / STAGES / stage.name
        former = [place for place in start.parent.glob(f"{start.name}-*") if (place / RECORD).is_file()]
        for place in sorted(former, key=lambda place: (place / RECORD).stat().st_mtime, reverse=True):
            with suppress(CheckpointError):
                record = read_record(place)
                if record is not None and record.name == stage.name and record.key != stage.key:
                    return f"begins anew; {'; '.join(_changes(record, stage)[:3])} ({place.name} stays)"
        return "begins"

    def check(self, stages: Sequence[Stage] = ()) -> None:
        """Check the files of stages that are done.

        Raises:
            CheckpointError: naming stage, file and remedy.
        """
        flaws = [flaw for stage in dict.fromkeys(stages or self.graph) if (flaw := flaw_of(stage, self.of(stage)))]
        if flaws:
            more = f" ({len(flaws) - 1} more stages are damaged.)" if len(flaws) > 1 else ""
            raise CheckpointError(flaws[0] + more)

    def stale(self) -> list[Path]:
        """Return the folders of stages that are not of this graph."""
        used = {place.resolve() for place in self._place.values()}
        return [place for place in self._places() if place.resolve() not in used]

    def prune(self) -> list[Path]:
        """Delete the folders of stages that are not of this graph, but for those that a process is at; return them."""
        gone = []
        for place in self.stale():
            with suppress(RunFolderError), said_when_full(place), locked(place):
                # First, or what a kill leaves of the others would pass for whole.
                (place / RECORD).unlink(missing_ok=True)
                shutil.rmtree(place)
                gone.append(place)
        return gone

    def _places(self) -> Iterator[Path]:
        """Yield the folders of all stages of whatever graph, by name."""
        pending = [self.folder / STAGES]
        while pending:
            at = pending.pop()
            if not at.is_dir():
                continue
            inner = sorted((path for path in at.iterdir() if path.is_dir()), reverse=True)
            if at.name != STAGES and _PLACE.fullmatch(at.name):
                yield at
            else:
                pending.extend(inner)


def _changes(record: Record, stage: Stage) -> list[str]:
    """Say in what a stage differs from the one of a record."""
    there = {role: need["key"] for role, need in record.needs.items()}
    here = {role: need.key for role, need in stage.needs.items()}
    changed = [f"{name} is another" for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    settings = [
        difference
        for name in sorted({*record.settings, *stage.settings})
        for difference in differences(name, record.settings.get(name), stage.settings.get(name))
    ]
    return [*settings, *changed] or ["it is of another kind"]


def _is_of(folder: Path, stage: Stage) -> bool:
    try:
        record = read_record(folder)
    except CheckpointError:
        return False
    return record is not None and record.key == stage.key
