"""The folder of a study: where each stage lies, how far it is, and what is left there of other studies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from genrlhf.data.log import said_when_full
from genrlhf.errors import CheckpointError, RunFolderError
from genrlhf.studies.graph import Graph, Stage
from genrlhf.studies.record import RECORD, Record, flaw_of, read_record

__all__ = ["StudyFolder"]

STAGES = "stages"
_PLACE = re.compile(r".+-([0-9a-f]{8})")


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
            self.folder.mkdir(parents=True, exist_ok=True)
            made = {place.name[-8:]: place for place in self._places()}
        except OSError as error:
            raise RunFolderError(
                f"The study's folder {self.folder} cannot be used ({error.strerror or error}); choose another one."
            ) from error
        self._place: dict[str, Path] = {}
        for stage in graph:
            own = self.folder / STAGES / stage.place
            other = made.get(stage.key[:8])
            if stage.key not in self._place:
                use_other = not own.is_dir() and other is not None and _is_of(other, stage)
                self._place[stage.key] = other if use_other and other is not None else own

    def of(self, stage: Stage) -> Path:
        """Return the folder of a stage, whether it is there or not."""
        return self._place[stage.key]

    def make(self, stage: Stage) -> Path:
        """Return the folder of a stage, made where it is missing."""
        folder = self.of(stage)
        with said_when_full(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def record_of(self, stage: Stage) -> Record | None:
        """Return the record of a stage, None where it is not done.

        Raises:
            CheckpointError: where it is damaged, or another stage's.
        """
        record = read_record(self.of(stage))
        if record is not None and record.key != stage.key:
            raise CheckpointError(str(flaw_of(stage, self.of(stage))))
        return record

    def is_done(self, stage: Stage) -> bool:
        """Say whether a stage is done, without looking at its files."""
        return (self.of(stage) / RECORD).is_file()

    def state_of(self, stage: Stage) -> str:
        """Return "done", "begun" or "missing"."""
        return "done" if self.is_done(stage) else "begun" if self.of(stage).is_dir() else "missing"

    def check(self, stages: Graph | list[Stage] | None = None) -> None:
        """Check the files of stages that are done.

        Raises:
            CheckpointError: naming stage, file and remedy.
        """
        flaws = [flaw for stage in stages or self.graph if (flaw := flaw_of(stage, self.of(stage)))]
        if flaws:
            more = f" ({len(flaws) - 1} more stages are damaged.)" if len(flaws) > 1 else ""
            raise CheckpointError(flaws[0] + more)

    def stale(self) -> list[Path]:
        """Return the folders of stages that are not of this graph."""
        used = {place.resolve() for place in self._place.values()}
        return [place for place in self._places() if place.resolve() not in used]

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


def _is_of(folder: Path, stage: Stage) -> bool:
    try:
        record = read_record(folder)
    except CheckpointError:
        return False
    return record is not None and record.key == stage.key
