"""Where a stage fails, a study makes all that does not need it, if it is asked to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import CheckpointError, ConfigError, DataError, GenRLHFError
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.running import run


def works(folder: Path, context: StageContext) -> dict[str, Any]:
    return {"made": 1}


def fails(kind: type[Exception], text: str) -> Any:
    def work(folder: Path, context: StageContext) -> dict[str, Any]:
        raise kind(text)

    return work


def study(first: Any = None, second: Any = None) -> Graph:
    """Two arms of three stages, the first stage of which may fail, and one that needs both."""
    arms = []
    for name, work in (("a", first), ("b", second)):
        train = Stage(f"{name}/train", {"arm": name}, {}, work or works)
        sample = Stage(f"{name}/sample", {"arm": name, "n": 1}, {"model": train}, works)
        arms.append(Stage(f"{name}/measure", {"arm": name, "n": 2}, {"outputs": sample}, works))
    return Graph([Stage("results", {}, {"a": arms[0], "b": arms[1]}, works)])


def done(folder: Path, graph: Graph) -> set[str]:
    places = StudyFolder(folder, graph)
    return {stage.name for stage in graph if places.is_done(stage)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_does_not_need_it_is_made(jobs: int, tmp_path: Path) -> None:
    graph, said = study(first=fails(DataError, "no rows")), []
    expected = "Stages that failed: 1; left out for want of them: 3; all others are done. a/train: no rows"
    with pytest.raises(GenRLHFError, match=f"^{re.escape(expected)}$"):
        run(graph, tmp_path, report=said.append, jobs=jobs, keep_going=True)
    assert done(tmp_path, graph) == {"b/train", "b/sample", "b/measure"}
    assert "a/train: failed (left out for want of it: 3 stages): no rows" in said
    mended = study()
    run(mended, tmp_path, jobs=jobs, keep_going=True)
    assert len(done(tmp_path, mended)) == 7


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_failure_is_told_of_and_those_of_others_by_their_kind(jobs: int, tmp_path: Path) -> None:
    graph = study(fails(RuntimeError, "out of memory"), fails(DataError, "no rows"))
    with pytest.raises(GenRLHFError, match=r"^Stages that failed: 2; left out for want of them: 5;") as caught:
        run(graph, tmp_path, jobs=jobs, keep_going=True)
    assert "a/train: RuntimeError: out of memory" in str(caught.value) and "b/train: no rows" in str(caught.value)


def test_stages_that_were_asked_for(tmp_path: Path) -> None:
    graph = study(first=fails(DataError, "no rows"))
    with pytest.raises(GenRLHFError, match="Stages that failed: 1; left out for want of them: 1"):
        run(graph, tmp_path, only=["a/train", "a/sample", "b/train"], keep_going=True)
    assert done(tmp_path, graph) == {"b/train"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_it_ends_at_once_by_default_and_where_the_next_stage_would_fail_too(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        run(study(first=fails(DataError, "no rows")), tmp_path / "default", jobs=jobs)
    with pytest.raises(CheckpointError, match="disk"):
        run(study(first=fails(CheckpointError, "the disk is full")), tmp_path / "disk", jobs=jobs, keep_going=True)


def test_not_under_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "0")):
        monkeypatch.setenv(name, value)
    from genrlhf.studies import running
    from genrlhf.studies.team import Team

    class Two(Team):
        is_main = True

        def __init__(self) -> None:
            pass

        def dismiss(self, status: int) -> None:
            pass

    monkeypatch.setattr(running, "team_of", lambda folder: Two())
    with pytest.raises(ConfigError, match="--keep-going is for a process that starts others"):
        run(study(), tmp_path, keep_going=True)
