"""`genrlhf compare` in several processes: of a launcher that starts it, of one that it starts, and side by side."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.studies.launching import Launcher
from genrlhf.studies.results import read_results, to_json
from tests.helpers import save_model, tiny_llama, tiny_tokenizer
from tests.processes import run_in_two, run_together

PROMPTS = [{"prompt": f"q{n} abc", "reference": f"r {n}", "dataset": "id" if n < 4 else "ood"} for n in range(5)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models, prompts, outputs, and a comparison that one process made."""
    folder = tmp_path_factory.mktemp("work")
    for seed, name in enumerate("ab"):
        save_model(tiny_llama(seed=seed), tiny_tokenizer(), folder / name)
    rows = [{**row, "outputs": [f"one {n}", "two"]} for n, row in enumerate(PROMPTS)]
    for file, content in (("prompts.jsonl", PROMPTS), ("given.jsonl", rows)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in content))
    assert main(command(folder, "alone")) == 0
    return folder


def command(work: Path, output: str, *options: str) -> list[str]:
    sources = [f"a={work}/a", f"given={work}/given.jsonl", f"b={work}/b"]
    drawn = ["--prompts", f"{work}/prompts.jsonl", "--num-outputs", "2", "--max-new-tokens", "4", "--kl-from", "a"]
    measured = ["--metrics", "ead", "--baseline", "given", "--output-dir", str(work / output)]
    return ["compare", *sources, *drawn, *measured, *options]


def same(work: Path, output: str) -> bool:
    """Say whether a comparison has found what one process has, figures and outputs."""

    def found(name: str) -> Any:
        results = read_results(work / name)
        files = [(work / name / entry["file"]).read_text() for entry in results["outputs"]]
        return to_json([results["methods"], results["curves"], results["outputs"], files])

    return bool(found(output) == found("alone"))


@pytest.mark.enable_socket
def test_two_processes_of_a_launcher_draw_together_and_one_writes(work: Path) -> None:
    # What two of three processes had drawn when all were killed.
    (whole,) = (work / "alone").glob("stages/sample/a@1.0/id-*")
    begun = work / "together" / whole.relative_to(work / "alone")
    shutil.copytree(whole, begun)
    (begun / "stage.json").unlink()
    lines = (begun / "outputs.jsonl").read_text().splitlines(keepends=True)
    (begun / "outputs.jsonl").unlink()
    for process in (0, 2):
        (begun / f"outputs.jsonl.process-{process}").write_text(lines[process])
    printed = run_in_two("genrlhf.cli", *command(work, "together", "--json"))
    assert json.loads(printed)["reference"] == "a"
    assert same(work, "together")
    assert not [file for file in (work / "together").rglob("*process*")]


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--jobs", "2"],
            "--jobs is for a process that starts others; leave it out where a launcher has started this.",
        ),
        (["--prompts", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["--texts", "-"], "Standard input (-) cannot be read by several processes; give a file."),
    ],
)
def test_what_several_processes_cannot_do_is_refused_before_the_work(work: Path, options: list[str], told: str) -> None:
    failed = run_together("genrlhf.cli", *command(work, "refused", *options))
    assert failed.returncode == 1 and failed.stdout == ""
    # Both have found it, and one says so.
    assert failed.stderr.count("genrlhf: ") == 1 and f"genrlhf: {told}" in failed.stderr
    assert not list((work / "refused").rglob("*.jsonl"))


def test_models_side_by_side_in_processes_of_their_own(work: Path) -> None:
    assert main(command(work, "jobs", "--jobs", "2")) == 0
    assert same(work, "jobs")


def test_models_in_processes_of_a_launcher_that_is_started(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[str] = []

    def launch(self: Launcher, stage: str, folder: Path, report: Any) -> None:
        launched.append(f"{shlex.join(self.command)} {stage}")
        assert main(["study", *self.arguments, "--only", stage]) == 0

    monkeypatch.setattr(Launcher, "__call__", launch)
    assert main(command(work, "launched", "--launcher", "torchrun --nproc-per-node 2")) == 0
    stages = [f"sample/{name}@1.0/{where}" for name in "ab" for where in ("id", "ood")]
    assert launched == [f"torchrun --nproc-per-node 2 {stage}" for stage in stages]
    assert same(work, "launched")


def test_a_model_that_cannot_be_loaded_ends_the_others_and_what_was_drawn_is_kept(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = save_model(tiny_llama(seed=3), tiny_tokenizer(), tmp_path / "broken")
    weights = broken / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    typed = [word.replace(f"b={work}/b", f"b={broken}") for word in command(work, "broken", "--jobs", "2")]
    assert main(typed) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genrlhf: ")]
    assert len(told) == 1 and told[0].startswith("genrlhf: sample/b@1.0/") and "broken" in told[0]
    assert not (work / "broken" / "results.json").exists()
    weights.write_bytes(whole)
    assert main(typed) == 0
