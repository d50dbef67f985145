"""Stages that do not wait for each other are made at the same time, in processes that end with the first one."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.errors import CheckpointError, ConfigError, DataError, RunFolderError
from genrlhf.studies import devices, workers
from genrlhf.studies.folder import StudyFolder
from genrlhf.studies.graph import Graph, Stage, StageContext
from genrlhf.studies.running import run
from genrlhf.studies.time_left import TimeLeft
from tests.studies.toys import toy_graph

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages that are no importable objects need a fork")


def figures(folder: Path, graph: Graph) -> dict[str, Any]:
    places = StudyFolder(folder, graph)
    return {each.name: dict(places.record_of(each).figures) for each in graph}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that one process made, a stage behind the other."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    run(toy_graph(), folder)
    return folder


def timed(seconds: float = 0.3) -> Callable[[Path, StageContext], dict[str, Any]]:
    """Return what sleeps, and says when and in which process."""

    def work(folder: Path, context: StageContext) -> dict[str, Any]:
        start = time.time()
        time.sleep(seconds)
        context.report("half way")
        return {"start": start, "end": time.time(), "process": os.getpid()}

    return work


def sleeps(name: str, seconds: float = 0.3, **needs: Stage) -> Stage:
    return Stage(name, {"name": name}, needs, timed(seconds))


def test_three_at_a_time_make_what_one_makes_and_say_so_in_order(whole: Path, tmp_path: Path) -> None:
    graph, said = toy_graph(), []
    records = run(graph, tmp_path, report=said.append, jobs=3)
    assert list(records) == [each.name for each in graph]
    assert figures(tmp_path, graph) == figures(whole, graph)
    order = [re.sub(r":.*(begins|done).*", r" \1", line) for line in said]
    assert sorted(order) == sorted(f"{each.name} {word}" for each in graph for word in ("begins", "done"))
    for each in graph:
        for need in each.needed:
            assert order.index(f"{need.name} done") < order.index(f"{each.name} begins")
    assert said[-1].endswith("; 14 of 14 stages done")
    assert run(graph, tmp_path, jobs=3) == records


def test_stages_run_at_the_same_time_in_processes_of_their_own_with_the_threads_that_are_said(tmp_path: Path) -> None:
    import torch

    def threads(folder: Path, context: StageContext) -> dict[str, Any]:
        time.sleep(0.3)
        return {**timed()(folder, context), "threads": torch.get_num_threads(), "told": os.environ["OMP_NUM_THREADS"]}

    graph = Graph([Stage(name, {"name": name}, {}, threads) for name in "ab"])
    before = torch.get_num_threads()
    a, b = (record.figures for record in run(graph, tmp_path, jobs=2, threads=1).values())
    assert a["start"] < b["end"] and b["start"] < a["end"]
    assert len({a["process"], b["process"], os.getpid()}) == 3
    assert (a["threads"], b["threads"], a["told"]) == (1, 1, "1")
    assert torch.get_num_threads() == before


def test_each_process_has_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sees(folder: Path, context: StageContext) -> dict[str, Any]:
        time.sleep(0.2)
        return {"process": os.getpid(), "devices": os.environ.get("CUDA_VISIBLE_DEVICES")}

    def found(folder: str, jobs: int) -> list[str]:
        graph = Graph([Stage(name, {}, {}, sees, kind=name) for name in "abc"])
        records = run(graph, tmp_path / folder, jobs=jobs).values()
        by_process = {record.figures["process"]: record.figures["devices"] for record in records}
        return sorted(map(str, by_process.values()))

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert found("none", 2) == ["None"] * 2
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert found("two", 3) == ["0", "0", "1"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    # Those that the command itself was given, which a driver may know by long names.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8932f937")
    assert found("named", 2) == ["3", "GPU-8932f937"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3, GPU-8932f937"
    # A launcher's processes are to have several, where there are enough.
    four = [str(number) for number in range(4)]
    assert devices.divided(four, 2, launches=True) == [["0", "1"], ["2", "3"]]
    assert devices.divided(four, 3, launches=True) == [["0"], ["1"], ["2"]]
    assert devices.divided(four, 5, launches=True) == [None] * 5


def test_the_longest_path_begins_first_and_what_is_known_counts(tmp_path: Path) -> None:
    start = sleeps("start", 0.0)
    short, long = sleeps("measure/short", 0.1, start=start), sleeps("measure/long", 0.1, start=start)
    then = sleeps("measure/then", 0.1, start=long)
    said: list[str] = []
    run(Graph([short, sleeps("measure/beside", 0.1, start=start), then]), tmp_path, report=said.append, jobs=2)
    begun = [line.split(":")[0] for line in said if line.endswith("begins")]
    assert set(begun[:3]) == {"start", "measure/long", "measure/short"}  # two at once, whichever says so first
    left = TimeLeft(3, jobs=2)
    assert left.to_the_end([start, long, then])[start.key] == 3.0  # one a stage, of which nothing is known
    left.add(sleeps("measure/then/seed-1"), 8.0)
    left.add(sleeps("start/seed-1"), 1.0)
    of_seed = sleeps("measure/then/seed-0", start=start)
    assert left.to_the_end([start, of_seed]) == {start.key: 9.0, of_seed.key: 8.0}
    left.add(sleeps("measure/other"), 2.0)
    assert left.guessed(of_seed) == 8.0 and left.guessed(short) == 5.0
    trained = Stage("ppo", {}, {}, timed(), kind="train")
    assert left.guessed(trained) == 20.0
    left.add(Stage("sft", {}, {}, timed(), kind="train"), 200.0)
    assert left.guessed(Stage("sample/x", {}, {}, timed())) == 30.0  # ten times what is rough, as of training


def test_two_names_of_one_content_are_made_once(tmp_path: Path) -> None:
    said: list[str] = []
    one, other = Stage("a", {}, {}, timed(), kind="k"), Stage("b", {}, {}, timed(), kind="k")
    records = run(Graph([one, other]), tmp_path, report=said.append, jobs=2)
    assert records["a"] == records["b"] and sum("begins" in line for line in said) == 1


def test_a_stage_that_fails_ends_the_others_in_one_line_and_is_gone_on_with(tmp_path: Path) -> None:
    def fails(folder: Path, context: StageContext) -> dict[str, Any]:
        time.sleep(0.3)
        if not (folder / "second").exists():
            (folder / "second").touch()
            raise DataError("row 3 has no prompt; add one.")
        return {}

    def long(folder: Path, context: StageContext) -> dict[str, Any]:
        (tmp_path / "process").write_text(str(os.getpid()))
        try:
            time.sleep(0.0 if (tmp_path / "let go").exists() else 60)
        finally:
            (tmp_path / "let go").touch()
        return {}

    graph = Graph([Stage("long", {}, {}, long), Stage("short", {}, {}, fails)])
    start = time.monotonic()
    with pytest.raises(DataError, match=r"^short: row 3 has no prompt; add one\.$"):
        run(graph, tmp_path, jobs=2)
    assert time.monotonic() - start < 10
    assert (tmp_path / "let go").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "process").read_text()), 0)
    assert set(run(graph, tmp_path, jobs=2)) == {"long", "short"}


class OddError(Exception):
    """An error that cannot be made again from its arguments."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def test_other_errors_come_with_where_they_were_raised_and_a_process_that_is_gone_is_told(tmp_path: Path) -> None:
    def bug(folder: Path, context: StageContext) -> dict[str, Any]:
        raise OddError("no", "way")

    def gone(folder: Path, context: StageContext) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    def unreadable(folder: Path, context: StageContext) -> dict[str, Any]:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")

    with pytest.raises(RuntimeError, match="UnicodeDecodeError: 'utf-8' codec"):
        run(Graph([Stage("unreadable", {}, {}, unreadable)]), tmp_path, jobs=2)
    with pytest.raises(Exception, match="OddError: no way") as raised:
        run(Graph([Stage("bug", {}, {}, bug)]), tmp_path, jobs=2)
    assert "in bug" in str(raised.value.__cause__)
    with pytest.raises(CheckpointError, match="^gone: its process was ended by SIGKILL; what was made is kept"):
        run(Graph([Stage("gone", {}, {}, gone)]), tmp_path, jobs=2)


def test_what_another_command_is_at_is_waited_for_or_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    go = tmp_path / "go"

    def slow(folder: Path, context: StageContext) -> dict[str, Any]:
        while not go.exists():
            time.sleep(0.01)
        return {"process": os.getpid()}

    graph = Graph([Stage("slow", {}, {}, slow), sleeps("other", 0.0)])
    child = os.fork()
    if child == 0:
        run(Graph([graph["slow"]]), tmp_path)
        os._exit(0)
    said: list[str] = []

    def listen(line: str) -> None:
        said.append(line)
        if line.startswith("waits"):
            go.touch()

    try:
        while not StudyFolder(tmp_path, graph).of(graph["slow"]).exists():
            time.sleep(0.01)
        with pytest.raises(RunFolderError, match=rf"^slow: .* is in use by process {child} on .*; wait until it has"):
            run(graph, tmp_path, only=["slow"], jobs=2)
        assert run(graph, tmp_path, report=listen, jobs=2)["slow"].figures["process"] == child
    finally:
        go.touch()
        os.waitpid(child, 0)
    order = [line.split(":")[0] for line in said]
    assert order.index("other") < order.index("waits") and any(line.startswith("other: done") for line in said)


def test_only_some_stages_whose_needs_are_done_or_come_before(whole: Path, tmp_path: Path) -> None:
    graph, said = toy_graph(seeds=(0,)), []
    with pytest.raises(ConfigError, match="Stage reward/seed-0 needs sft/seed-0, which is not done; make that first"):
        run(graph, tmp_path, only=["reward/seed-0", "sft/seed-0"], jobs=2)
    asked = ["sft/seed-0", "reward/seed-0", "gem/seed-0"]
    assert set(run(graph, tmp_path, only=asked, jobs=2)) == set(asked)
    run(graph, tmp_path, only=asked[1:], report=said.append, jobs=2)
    assert said == ["reward/seed-0: already there", "gem/seed-0: already there"]


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_numbers_that_cannot_be(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"jobs is {value!r}; it must be a whole number, 1 or more"):
        run(toy_graph(), tmp_path, jobs=value)


def test_stages_that_can_be_neither_forked_nor_sent_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_can_fork", lambda threads: False)
    with pytest.raises(ConfigError, match=r"cannot be sent to other processes \(they are not said to be made by"):
        run(toy_graph(), tmp_path, jobs=2)
    with pytest.raises(ConfigError, match="cannot be sent to other processes .*lambda.*; leave jobs at 1"):
        run(toy_graph(), tmp_path, jobs=2, remake=lambda: toy_graph())


def test_processes_that_are_started_anew(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_can_fork", lambda threads: False)
    run(toy_graph(), tmp_path, jobs=2, remake=toy_graph)
    assert figures(tmp_path, toy_graph()) == figures(whole, toy_graph())


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start `genrlhf study` on the toys, two at a time, in a group of processes of its own."""
    command = [sys.executable, "-m", "tests.studies.toys", str(folder), "{}"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TOY_JOBS": "2", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def alive_in(group: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(place.name))
    return found


def ends(group: int, within: float) -> bool:
    end = time.monotonic() + within
    while alive_in(group) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive_in(group)


def test_kills_of_the_first_process_leave_none_behind_and_the_same_figures(whole: Path, tmp_path: Path) -> None:
    graph, rng = toy_graph(), random.Random(0)
    for _ in range(5):
        process = start(tmp_path)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, 9)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        assert ends(process.pid, 10)
        process.communicate()
    assert start(tmp_path).communicate()[1] == ""
    assert figures(tmp_path, graph) == figures(whole, graph)
    assert not [file for file in tmp_path.rglob("*.lock")]


def test_ctrl_c_ends_all_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "genrlhf", "study", "tests.studies.toys:study", "--output-dir", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--jobs", "2"],
        cwd=ROOT,
        env={**os.environ, "TOY_SECONDS": "60"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    lines = [process.stderr.readline(), process.stderr.readline()]
    assert sorted(line.split("] ")[1] for line in lines) == ["sft/seed-0: begins\n", "sft/seed-1: begins\n"]
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all of them
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "")
    assert errors == f"genrlhf: stopped; 0 of 14 stages are done in {tmp_path}; the same command goes on from there.\n"
    assert alive_in(process.pid) == [] and not list(tmp_path.rglob("*.lock"))


def test_the_command_and_what_it_refuses(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["study", "tests.studies.toys:study", "--output-dir", str(tmp_path), "--json"]
    assert main([*command, "--jobs", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["ppo/seed-0"]["lines"] == 4
    for value in ("0", "two", "-1"):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--jobs", value])
        assert ended.value.code == 2
        assert "must be a whole number from 1 to" in capsys.readouterr().err
    monkeypatch.setenv("TOY_FAILS", "gem/seed-1")
    monkeypatch.setenv("TOY_CHANGES", '{"gem": {"x": 1}}')
    assert main([*command, "--jobs", "2"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "genrlhf: gem/seed-1: row 3 has no prompt; add one." in shown.err.splitlines()[-1]
