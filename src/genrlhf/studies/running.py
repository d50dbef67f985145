"""Making the stages of a graph: each once, behind what it needs, and on where a former start stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from genrlhf.errors import GenRLHFError
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.record import Record, write_record

__all__ = ["run"]

Report = Callable[[str], None]


def run(graph: Graph, folder: str | Path, *, report: Report = lambda message: None) -> dict[str, Record]:
    """Make the stages that are not done, and return the records of all, by name.

    Args:
        graph: the stages.
        folder: of the study; each stage has a folder below its `stages`.
        report: says in one line what goes on.

    Raises:
        CheckpointError: where a stage that is done is damaged, or the disk is full.
        RunFolderError: where `folder` cannot be written.
    """
    places = StudyFolder(folder, graph)
    places.check()
    return {stage.name: _make(stage, places, report) for stage in graph}


def _make(stage: Stage, places: StudyFolder, report: Report) -> Record:
    record = places.record_of(stage)
    if record is not None:
        return record
    needed = {role: places.record_of(need) for role, need in stage.needs.items()}
    context = StageContext(
        folders={role: places.of(need) for role, need in stage.needs.items()},
        figures={role: record.figures for role, record in needed.items() if record is not None},
        report=lambda message: report(f"{stage.name}: {message}"),
    )
    at, start = places.make(stage), time.monotonic()
    try:
        figures = stage.run(at, context)
        return write_record(stage, at, figures, time.monotonic() - start, report)
    except GenRLHFError as error:
        error.args = (f"{stage.name}: {error}",)
        raise
