"""`genrlhf power` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrlhf.cli import main
from genrlhf.metrics import DistinctN
from genrlhf.metrics.power import diversity_inputs_needed, shares_needed


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def outputs(seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [
        {"prompt": f"p{row}", "outputs": [" ".join(generator.choice(list("abcdefgh"), 6)) for _ in range(4)]}
        for row in range(30)
    ]


def test_outputs_of_one_model_and_of_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = outputs(0), outputs(1)
    files = [write(tmp_path / "a.jsonl", first), write(tmp_path / "b.jsonl", second[::-1])]
    assert main(["power", *files, "--difference", "0.05", "--metric", "distinct", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sides = [[row["outputs"] for row in rows] for rows in (first, second)]
    expected = diversity_inputs_needed(sides[0], DistinctN(), 0.05, second=sides[1])
    assert found["needed"] == [vars(one) for one in expected] and found["inputs"] == 30
    assert (found["metric"], found["difference"], found["power"]) == ("distinct", 0.05, 0.8)
    assert main(["power", files[0], "--difference", "0.05", "--samples", "2,4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "same inputs, at least" in lines[0] and [line.split()[0] for line in lines[1:]] == ["2", "4"]


def judgement(model: str, number: int, preference: float) -> dict[str, Any]:
    sides = {"output_1": "x", "generator_1": "old", "output_2": "y", "generator_2": model}
    return {"instruction": f"i{number}", **sides, "preference": preference}


def test_judgements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    said = {name: generator.choice([1, 1.5, 2], 60) for name in ("a", "b")}
    rows = [judgement(name, n, float(p)) for name, given in said.items() for n, p in enumerate(given)]
    file = write(tmp_path / "judged.jsonl", rows)
    assert main(["power", file, "--difference", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["against_half"]["a"]["comparisons"] == shares_needed(said["a"] - 1, 0.1)
    between = found["between_models"]["b less a"]["comparisons"]
    assert between == shares_needed(said["b"] - said["a"], 0.1, null=0.0, low=-1.0)
    assert main(["power", file, "--difference", "0.1"]) == 0
    assert "b less a, same instructions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--difference", "0"], "give the size that shall be seen, not 0"),
        (["--difference", "0.1", "--metric", "nothing"], "There is no metric 'nothing'"),
        (["--difference", "0.1", "--samples", "2,x"], "--samples 2,x must be whole numbers"),
        (["--difference", "0.1", "--samples", "9"], "ead of 9 samples: give 1 to 4"),
        (["--difference", "0.1", "--power", "80"], "power is 80"),
    ],
)
def test_bad_options(tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", write(tmp_path / "a.jsonl", outputs(0)), *options]) == 1
    assert message in capsys.readouterr().err


def test_files_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [write(tmp_path / f"{n}.jsonl", outputs(0)[: 20 + n]) for n in range(3)]
    assert main(["power", *files[:2], "--difference", "0.1"]) == 1
    assert "do not hold the same prompts" in capsys.readouterr().err
    assert main(["power", *files, "--difference", "0.1"]) == 1
    assert "There are 3 files of outputs; give one, or two" in capsys.readouterr().err
    assert main(["power", files[0], "--difference", "0.1", "--win-rate"]) == 1
    assert "row 0 has no 'generator_1'" in capsys.readouterr().err
