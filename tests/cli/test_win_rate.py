"""`genrlhf win-rate` as it is typed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main


def annotation(preference: Any, model: str = "new", length: int = 4) -> dict[str, Any]:
    return {
        "instruction": "i",
        "generator_1": "old",
        "output_1": "a" * (9 - length),
        "generator_2": model,
        "output_2": "b" * length,
        "annotator": "judge",
        "preference": preference,
    }


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    one, two = tmp_path / "one.json", tmp_path / "two.jsonl.gz"
    one.write_text(
        json.dumps([annotation(p, length=size) for p, size in ((1, 3), (2, 6), (2, 5), (1.5, 4), (None, 4))])
    )
    two.write_bytes(gzip.compress("\n".join(json.dumps(annotation(p, "newest")) for p in (2, 2, 1)).encode()))
    return [str(one), str(two)]


def test_json(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["win-rate", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["newest", "new"]
    new = found["new"]
    assert {key: new[key] for key in ("win_rate", "n_wins", "n_wins_base", "n_draws", "n_total", "n_unanswered")} == {
        "win_rate": 62.5,
        "n_wins": 2,
        "n_wins_base": 1,
        "n_draws": 1,
        "n_total": 4,
        "n_unanswered": 1,
    }
    assert new["ci"][0] < 62.5 < new["ci"][1] and new["standard_error"] > 0


def test_table_with_length_control(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["win-rate", *files, "--length-controlled"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["model", "win", "rate"] and lines[0].endswith("length-controlled")
    assert lines[1].startswith("newest  66.67") and lines[2].startswith("new     62.50")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--baseline", "nobody"], "neither is the baseline 'nobody'"),
        (["--resamples", "5"], "--resamples must be at least 100"),
    ],
)
def test_bad_options(files: list[str], options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["win-rate", *files, *options]) == 1
    assert message in capsys.readouterr().err


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["win-rate", str(tmp_path / "none.json")]) == 1
    assert "does not exist" in capsys.readouterr().err
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(annotation("first")))
    assert main(["win-rate", str(bad)]) == 1
    assert "it must be 1 (the first output)" in capsys.readouterr().err
