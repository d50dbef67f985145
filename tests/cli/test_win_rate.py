"""`genrlhf win-rate` as it is typed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.preference import generalisation_gaps
from genrlhf.metrics.shift import shift_between


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
    assert new["ci"] == pytest.approx([100 * end for end in proportion_estimate([0, 1, 1, 0.5]).ci])
    assert new["standard_error"] > 0


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


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text(json.dumps(rows), encoding="utf-8")
    return str(file)


def several(model: str, preferences: list[Any], text: str = "write a poem") -> list[dict[str, Any]]:
    return [{**annotation(p, model), "instruction": f"{text} {number}"} for number, p in enumerate(preferences)]


def test_matrix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*several("a", [1, 2, 2]), *several("b", [1, 1, 1]), {**annotation(1, "b"), "generator_1": "a"}]
    file = write(tmp_path / "rows.json", rows)
    assert main(["win-rate", file, "--matrix"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["a", "b", "old"] and lines[1].startswith("a") and "100.0 [" in lines[1]
    assert main(["win-rate", file, "--matrix", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["a"]["old"]["win_rate"] == pytest.approx(66.66667) and found["old"]["b"]["win_rate"] == 100


def test_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "rows.json", [*several("a", [1, 2, 1, 1]), *several("b", [2, 2, 2, 1])])
    assert main(["win-rate", file, "--compare", "a", "b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["value"], found["n"], found["p_value"]) == (0.5, 4, 0.5)
    assert main(["win-rate", file, "--compare", "a", "b"]) == 0
    assert "b less a  +50.00 [" in capsys.readouterr().out


def test_gaps_out_of_distribution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside = write(tmp_path / "inside.json", several("a", [2] * 9 + [1] * 3))
    near = write(tmp_path / "near.json", several("a", [2] * 6 + [1] * 6, "write a song"))
    far = write(tmp_path / "far.json", several("a", [2] * 3 + [1] * 9, "sum up news"))
    assert main(["win-rate", inside, "--ood", f"songs={near}", far, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["a"]
    assert {name: one["value"] for name, one in found["win_rate"].items()} == {"id": 0.75, "songs": 0.5, "far": 0.25}
    assert {name: one["value"] for name, one in found["gaps"].items()} == {"songs": 0.25, "far": 0.5}
    texts = {
        name: [f"{what} {n}" for n in range(12)] for name, what in (("songs", "write a song"), ("far", "sum up news"))
    }
    poems = [f"write a poem {n}" for n in range(12)]
    shifts = {name: shift_between(poems, each).measured() for name, each in texts.items()}
    assert {name: {m: one["value"] for m, one in each.items()} for name, each in found["shift"].items()} == {
        name: {m: one.value for m, one in each.items()} for name, each in shifts.items()
    }
    assert 0 < found["shift"]["songs"]["words"]["value"] < found["shift"]["far"]["words"]["value"] < 1
    slope = found["per_shift"]["words"]
    assert slope["ci"][0] < slope["value"] < slope["ci"][1] and slope["value"] == pytest.approx(
        generalisation_gaps(
            proportion_estimate([1.0] * 9 + [0.0] * 3),
            {
                "songs": proportion_estimate([1.0] * 6 + [0.0] * 6),
                "far": proportion_estimate([1.0] * 3 + [0.0] * 9),
            },
            shifts={name: each["words"].value for name, each in shifts.items()},
        ).per_shift.value
    )
    assert main(["win-rate", inside, "--ood", near]) == 0
    out = capsys.readouterr().out
    assert "shift of words" in out and "+25.00 [" in out and "gap per shift" not in out
    # One instruction is no set that is apart from another.
    one = write(tmp_path / "one.json", several("a", [2], "sum up news"))
    assert main(["win-rate", inside, "--ood", one, "--json"]) == 0
    done = capsys.readouterr()
    assert "how far one is from id is not known" in done.err and json.loads(done.out)["a"]["shift"] == {"one": {}}


def test_difficulty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "rows.json", several("a", [1, 2, 2, 1] * 5))
    table = [{"instruction": f"write a poem {n}", "instruction_difficulty": n / 10} for n in range(20)]
    command = ["win-rate", file, "--resamples", "100", "--json", "--difficulty"]
    assert main([*command, write(tmp_path / "difficulty.json", table)]) == 0
    controlled = json.loads(capsys.readouterr().out)["a"]["length_controlled"]
    assert 1 < controlled["ci"][0] < controlled["value"] < controlled["ci"][1] < 100
    assert main([*command, write(tmp_path / "short.json", table[:3])]) == 1
    assert "The difficulty of 17 of 20 instructions is not known" in capsys.readouterr().err
    assert main([*command, write(tmp_path / "bad.json", [{"instruction": "i"}])]) == 1
    assert "give an instruction and its instruction_difficulty" in capsys.readouterr().err


def test_options_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (write(tmp_path / f"{name}.json", several(name, [1, 2])) for name in "ab")
    for options, message in (
        (["--matrix", "--compare", "a", "b"], "Give one of --matrix, --compare and --ood"),
        (["--ood", other], "No model is judged on all test sets"),
        (["--encoder", "x"], "--encoder measures the shift to the sets of --ood"),
        (["--ood", f"id={other}"], "needs a name of its own"),
        (["--ood", other, other], "needs a name of its own"),
        (["--compare", "a", "c"], "There are no judgements of 'c'"),
        (["--ood", other, "--difficulty", other], "--difficulty is of win rates at equal lengths; leave --ood out"),
        (["--matrix", "--length-controlled"], "--length-controlled is of win rates at equal lengths"),
        (["--compare", "a", "b", "--resamples", "200"], "--resamples is of win rates at equal lengths"),
    ):
        assert main(["win-rate", one, *options]) == 1
        assert message in capsys.readouterr().err
