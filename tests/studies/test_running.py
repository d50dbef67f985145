"""Stages are made once, behind what they need, and gone on with after whatever ended a former start."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import CheckpointError, ConfigError, DataError, RunFolderError
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.running import run
from tests.studies import toys
from tests.studies.toys import stage, toy_graph

ROOT = Path(__file__).parents[2]
TOYS = [sys.executable, "-m", "tests.studies.toys"]


@pytest.fixture(autouse=True)
def made() -> list[str]:
    """The stages that have run in this process, since the test began."""
    toys.MADE.clear()
    return toys.MADE


def figures(folder: Path, graph: Graph) -> dict[str, Any]:
    places = StudyFolder(folder, graph)
    return {each.name: dict(places.record_of(each).figures) for each in graph}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that nobody stopped; not to be written to."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    run(toy_graph(), folder)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


def start(folder: Path, *only: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TOYS, str(folder), "{}", *only], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_every_stage_is_made_once_behind_what_it_needs(tmp_path: Path, made: list[str]) -> None:
    graph = toy_graph()
    said: list[str] = []
    records = run(graph, tmp_path / "a", report=said.append)
    assert made == [each.name for each in graph] == list(records)
    for each in graph:
        assert all(made.index(need.name) < made.index(each.name) for need in each.needs.values())
    assert re.fullmatch(r"sample/gem/seed-1: done in \d\.\d s; 14 of 14 stages done", said[-1])
    assert any(re.search(r"; 9 of 14 stages done, (about|at least) \d\.\d s left$", line) for line in said)
    again = run(graph, tmp_path / "a")
    assert again == records and len(made) == 14


def test_twenty_kills_and_the_same_figures(whole: Path, tmp_path: Path) -> None:
    graph, rng, ended = toy_graph(), random.Random(0), 0
    for _ in range(20):
        process = start(tmp_path / "killed")
        assert process.stdout is not None
        # Wherever it is then: between two writes of a line, of a record, of the next stage.
        for _ in range(rng.randrange(0, 9)):
            process.stdout.readline()
        time.sleep(rng.random() * 0.004)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert errors == ""
        ended += process.returncode == 0
    assert ended < 20
    done = start(tmp_path / "killed").communicate()
    assert done[1] == ""
    assert figures(tmp_path / "killed", graph) == figures(whole, graph)
    assert StudyFolder(tmp_path / "killed", graph).stale() == []


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_kill_at_every_step_to_the_disk(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each of the calls that make something last, one after the other."""
    graph = Graph([toy_graph()["ppo/seed-0"]])
    for number in range(1, 200):
        left = [number]

        def counted(call: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def counting(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
                return call(*args, **kwargs)

            return counting

        folder = tmp_path / str(number)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", counted(os.fsync))
            patched.setattr(Path, "replace", counted(Path.replace))
            with suppress(Killed):
                run(graph, folder)
        ended = left[0] > 0
        run(graph, folder)
        assert figures(folder, graph) == {each.name: figures(whole, toy_graph())[each.name] for each in graph}
        if ended:
            break
    assert 20 < number < 199


def test_a_stage_that_is_added_costs_itself_and_what_it_needs_and_is_not_there(copy: Path, made: list[str]) -> None:
    run(toy_graph(methods=("ppo", "gem", "dpo")), copy)
    assert made == ["dpo/seed-0", "sample/dpo/seed-0", "dpo/seed-1", "sample/dpo/seed-1"]
    made.clear()
    run(toy_graph(seeds=(0, 1, 2)), copy)
    assert made == [
        f"{name}/seed-2" for name in ("sft", "sample/sft", "reward", "ppo", "sample/ppo", "gem", "sample/gem")
    ]


@pytest.mark.parametrize(
    ("changed", "anew"),
    [
        ("sft", ["sft", "sample/sft", "reward", "ppo", "sample/ppo", "gem", "sample/gem"]),
        ("reward", ["reward", "ppo", "sample/ppo"]),
        ("gem", ["gem", "sample/gem"]),
        ("sample/gem", ["sample/gem"]),
        ("sample", ["sample/sft", "sample/ppo", "sample/gem"]),
    ],
)
def test_a_change_makes_anew_what_has_it_and_what_follows(
    copy: Path, made: list[str], changed: str, anew: list[str]
) -> None:
    said: list[str] = []
    graph = toy_graph({changed: {"code": "changed"}}, seeds=(0,))
    run(graph, copy, report=said.append)
    assert made == [f"{name}/seed-0" for name in anew]
    assert said[0].startswith(f"{made[0]}: begins anew; code is None there and 'changed' here")
    # What was there stays, and is gone back to.
    assert len(StudyFolder(copy, graph).stale()) == 7 + len(anew)
    made.clear()
    run(toy_graph(), copy)
    assert made == []


def test_a_new_name_makes_nothing_anew(copy: Path, made: list[str]) -> None:
    sft = stage("sft/first", {"seed": 0}, launched=True)
    renamed = Graph([stage("sample/other-name", {"seed": 0}, model=sft)])
    records = run(renamed, copy)
    assert made == []
    assert records["sample/other-name"].name == "sample/sft/seed-0"
    assert StudyFolder(copy, renamed).of(sft) == StudyFolder(copy, toy_graph()).of(toy_graph()["sft/seed-0"])


def test_two_names_of_one_content_are_made_once(tmp_path: Path, made: list[str]) -> None:
    run(Graph([stage("sample/a", {"seed": 0}), stage("sample/b", {"seed": 0})]), tmp_path)
    assert made == ["sample/a"]


def test_two_processes_with_only_fill_one_folder(whole: Path, tmp_path: Path) -> None:
    graph, folder = toy_graph(), tmp_path / "shared"
    names = [each.name for each in graph]
    halves = [[name for name in names if name.endswith(end)] for end in ("seed-0", "seed-1")]
    processes = [start(folder, *half) for half in halves]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
        assert len(re.findall("done in", output)) == 7
    assert figures(folder, graph) == figures(whole, graph)


def test_two_processes_share_a_study(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    outputs = [process.communicate(timeout=120) for process in [start(folder), start(folder), start(folder)]]
    assert [errors for _, errors in outputs] == [""] * 3
    made = [line for output, _ in outputs for line in re.findall(r"(\S+): done in", output)]
    assert sorted(made) == sorted(each.name for each in toy_graph())
    assert figures(folder, toy_graph()) == figures(whole, toy_graph())


@pytest.fixture
def at_work(tmp_path: Path) -> Any:
    """A stage that another thread is at until it is let go, with the folder of its study."""
    began, go = threading.Event(), threading.Event()

    def slow(folder: Path, context: StageContext) -> dict[str, Any]:
        began.set()
        go.wait(60)
        return {"slow": True}

    graph = Graph([Stage("slow", {}, {}, slow)])
    thread = threading.Thread(target=run, args=(graph, tmp_path))
    thread.start()
    began.wait(60)
    yield graph, tmp_path, go
    go.set()
    thread.join()


def test_a_stage_that_another_process_is_at_is_refused(at_work: Any) -> None:
    graph, folder, _ = at_work
    with pytest.raises(RunFolderError, match=rf"^slow: .* is in use by process {os.getpid()} on .*; wait until it has"):
        run(graph, folder, only=["slow"])


def test_a_whole_study_waits_for_a_stage_that_another_process_is_at(at_work: Any, made: list[str]) -> None:
    graph, folder, go = at_work
    said: list[str] = []

    def listen(line: str) -> None:
        said.append(line)
        if line.startswith("waits"):
            go.set()

    more = Graph([stage("next", start=graph["slow"]), stage("other")])
    records = run(more, folder, report=listen)
    assert records["slow"].figures == {"slow": True}
    assert made == ["other", "next"]
    assert any(line.startswith(f"waits: slow: {folder}") for line in said)


def test_only_what_is_asked_for_is_made(copy: Path, made: list[str]) -> None:
    graph = toy_graph({"reward": {"x": 1}})
    assert set(run(graph, copy, only=["reward/seed-0", "ppo/seed-0"])) == {"reward/seed-0", "ppo/seed-0"}
    assert made == ["reward/seed-0", "ppo/seed-0"]
    with pytest.raises(ConfigError, match="Stage ppo/seed-1 needs reward/seed-1, which is not done; make that first"):
        run(graph, copy, only=["ppo/seed-1"])
    with pytest.raises(ConfigError, match="no stage 'ppo/seed-7'; did you mean ppo/seed-"):
        run(graph, copy, only=["ppo/seed-7"])


def record_file(folder: Path, name: str) -> Path:
    graph = toy_graph()
    return StudyFolder(folder, graph).of(graph[name]) / "stage.json"


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    file.write_text("")


def edit(file: Path) -> None:
    content = json.loads(file.read_text())
    content["figures"]["lines"] = 5
    file.write_text(json.dumps(content))


def no_record(file: Path) -> None:
    file.write_text("[1, 2]")


def of_another(file: Path) -> None:
    shutil.copy(record_file(file.parents[3], "gem/seed-0"), file)


def lose(file: Path) -> None:
    (file.parent / "model" / "lines.jsonl").unlink()


def cut(file: Path) -> None:
    truncate(file.parent / "model" / "lines.jsonl")


def change(file: Path) -> None:
    lines = file.parent / "model" / "lines.jsonl"
    lines.write_text(lines.read_text().replace("a", "b"))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (truncate, "has a damaged stage.json"),
        (empty, "has a damaged stage.json"),
        (edit, "has a damaged stage.json"),
        (no_record, "has a damaged stage.json"),
        (of_another, "the stage.json of another one \\('gem/seed-0'\\)"),
        (lose, "has lost its file .*lines.jsonl"),
        (cut, "has a damaged .*lines.jsonl: \\d+ bytes, where \\d+ were written"),
        (change, "lines.jsonl that was changed after it was written"),
    ],
)
def test_a_damaged_stage_is_named_with_its_file_before_the_work_and_made_again_once_deleted(
    whole: Path, copy: Path, made: list[str], harm: Callable[[Path], None], told: str
) -> None:
    file = record_file(copy, "sft/seed-0")
    harm(file)
    for only in ([], ["gem/seed-0"]):
        with pytest.raises(CheckpointError, match=f"Stage sft/seed-0 .*{told}.*Delete the folder .*sft/seed-0"):
            run(toy_graph({"gem": {"x": 1}}), copy, only=only)
    assert made == []
    shutil.rmtree(file.parent)
    run(toy_graph(), copy)
    assert made == ["sft/seed-0"]
    assert figures(copy, toy_graph()) == figures(whole, toy_graph())


def test_what_nobody_reads_may_be_tidied_away(tmp_path: Path) -> None:
    def train(folder: Path, context: StageContext) -> dict[str, Any]:
        for place in (folder, folder / "iteration-0"):
            (place / "checkpoint-3").mkdir(parents=True)
            for name in ("checkpoint-3/optimizer.pt", "model.safetensors", "README.md", "training_args.bin"):
                (place / name).write_text(name)
            (place / ".rows.jsonl.77.part").write_text("what a kill has left")
        return {}

    graph = Graph([Stage("sft", {}, {}, train)])
    record = run(graph, tmp_path)["sft"]
    assert list(record.files) == ["iteration-0/model.safetensors", "model.safetensors"]
    folder = StudyFolder(tmp_path, graph).of(graph["sft"])
    for place in (folder, folder / "iteration-0"):
        shutil.rmtree(place / "checkpoint-3")
        (place / "README.md").unlink()
    assert run(graph, tmp_path)["sft"] == record


def test_a_stage_that_fails_is_named_and_gone_on_with(tmp_path: Path) -> None:
    attempts: list[int] = []

    def fails(folder: Path, context: StageContext) -> dict[str, Any]:
        attempts.append(len(list(folder.iterdir())))
        (folder / "half").write_text("x")
        if len(attempts) == 1:
            raise DataError("row 3 has no prompt; add one.")
        return {"attempts": len(attempts)}

    graph = Graph([stage("first"), Stage("second", {}, {}, fails)])
    with pytest.raises(DataError, match=r"^second: row 3 has no prompt; add one\.$"):
        run(graph, tmp_path)
    said: list[str] = []
    assert run(graph, tmp_path, report=said.append)["second"].figures == {"attempts": 2}
    assert attempts == [0, 1] and said[0] == "second: goes on"


def test_a_full_disk_in_a_stage_is_one_line_that_names_it(tmp_path: Path) -> None:
    def full(folder: Path, context: StageContext) -> dict[str, Any]:
        raise OSError(28, "No space left on device", str(folder / "model.bin"))

    with pytest.raises(CheckpointError, match=r"^sft: No space left on device '.*model.bin'; what was made is kept"):
        run(Graph([Stage("sft", {}, {}, full)]), tmp_path)


@pytest.mark.parametrize("returned", [None, [1], {"a": object()}])
def test_figures_that_are_no_mapping_of_json(tmp_path: Path, returned: Any) -> None:
    with pytest.raises(ConfigError, match="Stage sft returned"):
        run(Graph([Stage("sft", {}, {}, lambda folder, context: returned)]), tmp_path)


def test_a_figure_that_is_not_finite_is_null_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    graph = Graph([Stage("sft", {}, {}, lambda folder, context: {"loss": [1.0, float("nan")]})])
    assert run(graph, tmp_path, report=said.append)["sft"].figures == {"loss": [1.0, None]}
    assert "sft: figures, loss, item 1 is nan; null is kept in its place" in said


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match=f"The study's folder {place} cannot be used .*; choose another one"):
            run(toy_graph(), place)


def test_a_folder_that_cannot_be_written(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(30, "Read-only file system")

    run(toy_graph(), copy)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises((RunFolderError, CheckpointError), match=r"\(Read-only file system\)"):
        run(toy_graph({"gem": {"x": 1}}), copy)


def test_names_with_all_characters_that_they_may_have(tmp_path: Path) -> None:
    names = ["_/A.b-c@d", "sample/ppo@1.0/id/seed-0", "sample", "sample/ppo@1.0"]
    assert list(run(Graph([stage(name, {"of": name}) for name in names]), tmp_path)) == names
    assert StudyFolder(tmp_path, Graph([])).prune()
    assert [path for path in (tmp_path / "stages").rglob("*") if path.is_file()] == []


def test_prune_leaves_what_is_used_and_what_somebody_is_at(copy: Path, at_work: Any) -> None:
    _, folder, _ = at_work
    places = StudyFolder(copy, toy_graph(seeds=(0,)))
    gone = places.prune()
    assert sorted(place.name[:6] for place in gone) == ["seed-1"] * 7
    run(toy_graph(seeds=(0,)), copy)
    assert StudyFolder(folder, Graph([])).prune() == []
