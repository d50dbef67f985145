"""`genrlhf judge validate` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main


def row(
    number: int, preference: Any, annotator: str, models: tuple[str, str] = ("sft", "ppo"), **more: Any
) -> dict[str, Any]:
    return {
        "instruction": f"i{number}",
        "generator_1": models[0],
        "output_1": "a" * (number + 1),
        "generator_2": models[1],
        "output_2": "bbb",
        "annotator": annotator,
        "preference": preference,
        **more,
    }


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text(json.dumps(rows), encoding="utf-8")
    return str(file)


def test_judge_and_two_humans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = write(tmp_path / "judge.json", [row(n, p, "j", flipped=False) for n, p in enumerate((1, 2, 2, 1, None))])
    ann = [row(n, p, "ann", dataset="id") for n, p in enumerate((1, 2, 1, 1, 1, 2))]
    ben = [row(n, p, "ben", dataset="id") for n, p in enumerate((1, 2, 2, 2))]
    humans = [write(tmp_path / "ann.json", ann), write(tmp_path / "ben.json", ben)]
    assert main(["judge", "validate", judge, "--humans", *humans, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["id"]
    # Per pair: 1, 1, 1/2, 1/2; the humans agree on two of four.
    assert (found["accuracy"]["value"], found["human_agreement"]["value"], found["n_pairs"]) == (0.75, 0.5, 4)
    assert (found["n_unmatched"], found["n_unanswered"]) == (1, 1)
    assert main(["judge", "validate", judge, "--humans", *humans]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out and "75.0 [" in out and "vs" in out and "difference" in out
    assert "the judge has no row for 1, and no answer to 1" in out and "Fleiss' kappa between humans" in out


def test_a_set_of_human_preferences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(n, p, "j", ("rejected", "chosen"), dataset="tldr") for n, p in enumerate((2, 2, 1, 2))]
    rows += [row(n, 1, "j", ("chosen", "rejected"), dataset="cnn") for n in range(3)]
    assert main(["judge", "validate", write(tmp_path / "judge.json", rows), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: one["accuracy"]["value"] for name, one in found.items()} == {
        "tldr": 0.75,
        "cnn": 1.0,
        "all": pytest.approx(6 / 7),
    }
    pairs = [{"prompt": f"i{n}", "chosen": "bbb", "rejected": "a" * (n + 1), "dataset": "tldr"} for n in range(4)]
    humans = ["--humans", write(tmp_path / "pairs.json", pairs), "--json"]
    assert main(["judge", "validate", str(tmp_path / "judge.json"), *humans]) == 0
    assert json.loads(capsys.readouterr().out)["tldr"]["accuracy"]["value"] == 0.75
    assert main(["judge", "validate", write(tmp_path / "other.json", [row(0, 1, "j")])]) == 1
    assert "not chosen with rejected; give what humans said with --humans" in capsys.readouterr().err


def test_nothing_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge, humans = (write(tmp_path / f"{n}.json", [row(n, 1, "x")]) for n in (0, 5))
    assert main(["judge", "validate", judge, "--humans", humans]) == 1
    assert "genrlhf: " in capsys.readouterr().err
