"""`genrlhf study`: stages listed, made one by one, by a launcher and by Snakemake."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.errors import ConfigError
from genrlhf.studies.folder import StudyFolder
from tests.processes import run_together
from tests.studies.toys import ToyStudy, toy_graph

TOYS = "tests.studies.toys:study"
ROOT = Path(__file__).parents[2]


def printed(capsys: Any) -> Any:
    return json.loads(capsys.readouterr().out)


def test_stages_are_listed_made_and_listed_as_done(tmp_path: Path, capsys: Any) -> None:
    command = ["study", TOYS, "--output-dir", str(tmp_path / "s")]
    assert main([*command, "--list", "--json"]) == 0
    listed = printed(capsys)
    assert not (tmp_path / "s").exists()
    assert [each["name"] for each in listed["stages"]] == [each.name for each in toy_graph()]
    assert {each["state"] for each in listed["stages"]} == {"missing"}
    ppo = listed["stages"][3]
    assert (ppo["name"], ppo["needs"], ppo["launched"]) == ("ppo/seed-0", ["sft/seed-0", "reward/seed-0"], True)
    # As a scheduler would: each behind what it needs, by the list alone.
    for each in listed["stages"]:
        assert main([*command, "--only", each["name"], "--json"]) == 0
        assert printed(capsys)[each["name"]]["key"] == each["key"]
        assert (Path(each["folder"]) / "stage.json").is_file()
    assert main([*command, "--list", "--json"]) == 0
    assert {each["state"] for each in printed(capsys)["stages"]} == {"done"}
    assert main([*command, "--json"]) == 0
    assert printed(capsys)["ppo/seed-0"]["lines"] == 4
    assert main(command) == 0
    assert capsys.readouterr().out == f"14 stages are done in {tmp_path / 's'}.\n"


def test_what_a_study_does_not_have_any_more(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["study", TOYS, "--output-dir", str(tmp_path)]
    assert main(command) == 0
    monkeypatch.setenv("TOY_CHANGES", '{"gem": {"x": 1}}')
    begun = StudyFolder(tmp_path, toy_graph({"gem": {"x": 1}})).of(toy_graph({"gem": {"x": 1}})["gem/seed-0"])
    begun.mkdir()
    capsys.readouterr()
    assert main([*command, "--list"]) == 0
    shown = capsys.readouterr()
    assert re.search(r"^gem/seed-0 +begun +sft/seed-0$", shown.out, re.MULTILINE)
    assert re.search(r"^gem/seed-1 +missing +sft/seed-1$", shown.out, re.MULTILINE)
    assert shown.err == (
        "genrlhf: 4 folders are of stages that this study does not have (any more); --prune deletes them.\n"
    )
    assert main([*command, "--prune", "--json"]) == 0
    assert len(printed(capsys)["deleted"]) == 4
    monkeypatch.delenv("TOY_CHANGES")
    assert main([*command, "--list", "--json"]) == 0
    states = [each["state"] for each in printed(capsys)["stages"]]
    assert (states.count("done"), states.count("missing")) == (10, 4)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--only", "ppo/seed-9"], "The study has no stage 'ppo/seed-9'; did you mean ppo/seed-"),
        (["--only", "ppo/seed-0"], "Stage ppo/seed-0 needs sft/seed-0, which is not done; make that first."),
        (["--only", "a", "--list"], "Give one of --list and --only."),
        (["--export", "make", "x"], "--export make: it can be snakemake"),
        (["--launcher", "'"], '--launcher "\'" cannot be read as a shell reads it'),
        (["--launcher", ""], "--launcher is empty"),
        (["--launcher", "/no/such program"], "--launcher: /no/such cannot be started (No such file or directory)"),
    ],
)
def test_what_cannot_be_is_one_line(typed: list[str], told: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["study", TOYS, "--output-dir", str(tmp_path / "s"), *typed]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genrlhf")]
    assert len(lines) == 1 and told in lines[0]


@pytest.mark.parametrize("name", ["tests.studies.toys:nothing", "no.such:thing", "tests.studies.toys:STEPS"])
def test_what_is_no_study(name: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["study", name]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_launcher_makes_the_stages_that_are_launched(tmp_path: Path, capsys: Any) -> None:
    # Any command that takes `-m` will do; this one says which stages it was started for.
    log = tmp_path / "started"
    script = tmp_path / "my launcher"
    script.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(log))}\nexec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    plain, launched = (["study", TOYS, "--output-dir", str(tmp_path / name), "--json"] for name in ("a", "b"))
    assert main(plain) == 0
    expected = printed(capsys)
    only = [each.name for each in toy_graph() if each.name.startswith("sft")]
    assert main([*launched, "--launcher", shlex.quote(str(script))]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == expected
    assert re.search(r"sft/seed-0: done in [\d.]+ s; 1 of 14 stages done", shown.err)
    lines = log.read_text().splitlines()
    assert [line.split("--only ")[1] for line in lines] == [each.name for each in toy_graph() if each.launched]
    assert lines[0] == f"-m genrlhf study {TOYS} --output-dir {tmp_path / 'b'} --only {only[0]}"


def test_what_goes_wrong_under_a_launcher_comes_through_in_one_line(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for script, told in {
        "echo hello; echo 'genrlhf: row 3 has no prompt.'; echo Traceback; exit 3": (
            r"`sh -c .*` ended with status 3: row 3 has no prompt\. All that it printed is in .*launch\.log\."
        ),
        "echo words; kill -9 $$": r"`sh -c .*` ended by SIGKILL: words All that",
        "exit 0": "sft/seed-0: its launcher has ended and the stage is not done",
    }.items():
        launcher = f"sh -c {shlex.quote(script)}"
        assert main(["study", TOYS, "--output-dir", str(tmp_path), "--launcher", launcher]) == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genrlhf")]
        assert len(lines) == 1 and re.search(told, lines[0])


def test_a_snakefile_has_a_rule_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    place = tmp_path / "it's a study; $HOME"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(ROOT))
    assert main(["study", TOYS, "--export", "snakemake", "Snakefile", "--launcher", "srun -n 2 py{thon}"]) == 0
    text = (place / "Snakefile").read_text()
    blocks = text.split("\n\n\nrule ")[2:]
    assert len(blocks) == 15
    graph, places = toy_graph(), StudyFolder(place / "toy", toy_graph())
    for stage, block in zip(graph, blocks, strict=False):
        texts = [line.strip().rstrip(",") for line in block.splitlines() if line.strip().startswith(("'", '"', "["))]
        *inputs, output, message, shell = map(ast.literal_eval, texts)
        assert [each for each in inputs if each] == [f"{places.of(need)}/stage.json" for need in stage.needs.values()]
        assert (output, message) == (f"{places.of(stage)}/stage.json", stage.name)
        words = shlex.split(shell.format())
        start = ["srun", "-n", "2", "py{thon}"] if stage.launched else [sys.executable]
        assert words == ["cd", str(place), "&&", *start, "-m", "genrlhf", "study", TOYS, "--only", stage.name]
    monkeypatch.chdir(tmp_path)
    assert main(["study", TOYS, "--output-dir", "{x}", "--export", "snakemake", "Snakefile"]) == 1
    assert "has braces" in capsys.readouterr().err


def launched(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the toys in two processes of a launcher."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "genrlhf"]
    command = [*launch, "study", TOYS, "--output-dir", str(folder), "--json"]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env=environment)


def test_two_processes_go_through_the_stages_in_step(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["study", TOYS, "--output-dir", str(tmp_path / "one"), "--json"]) == 0
    expected = printed(capsys)
    failed = launched(tmp_path / "two", TOY_FAILS="sample/sft/seed-1")
    told = [line for line in failed.stderr.splitlines() if line.startswith("genrlhf: ")]
    assert failed.returncode == 1 and told == ["genrlhf: sample/sft/seed-1: row 3 has no prompt; add one."]
    typed = ["study", TOYS, "--output-dir", str(tmp_path / "two"), "--json"]
    done = run_together("genrlhf", *typed, TOY_LOG=str(tmp_path / "log"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == expected
    main_log, other_log = (
        [json.loads(line) for line in (tmp_path / f"log{rank}").read_text().splitlines()] for rank in (0, 1)
    )
    # Eight stages had been made before the failure, and are not made again.
    rest = [each for each in toy_graph()][8:]
    assert main_log == [{"stage": each.name, "main": True} for each in rest]
    assert other_log == [{"stage": each.name, "main": False} for each in rest if each.launched]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["results.json", "stages"]


def test_a_study_is_checked_before_the_work(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: ToyStudy) -> None:
        raise ConfigError("methods.ppo: kl_coef is -1; it must be at least 0.")

    monkeypatch.setattr(ToyStudy, "check", check, raising=False)
    assert main(["study", TOYS, "--output-dir", str(tmp_path / "s")]) == 1
    assert capsys.readouterr().err == "genrlhf: methods.ppo: kl_coef is -1; it must be at least 0.\n"
    assert not (tmp_path / "s").exists()
    # By then the whole study has been checked, by whoever asks for one stage of it.
    assert main(["study", TOYS, "--output-dir", str(tmp_path / "s"), "--only", "sft/seed-0"]) == 0
