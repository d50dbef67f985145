"""`genrlhf diversity` over files in which it is known which outputs are right."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli import main
from genrlhf.metrics import DistinctN
from genrlhf.metrics.solutions import (
    crossing_point,
    distinct_valid,
    effective_answers,
    pass_at_k,
    pass_hat_k,
    quality_filtered_diversity,
    valid_share,
)

OUTPUTS = [["Ohio", "ohio", "Texas", "Paris"], ["Utah", "Rome", "Rome", "Bonn"], ["Iowa", "Maine", "Idaho", "Iowa"]]
RIGHT = [[True, True, True, False], [True, False, False, False], [True] * 4]


def write(path: Path, **columns: list[Any]) -> str:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps({"prompt": f"q{n}", **row}) + "\n" for n, row in enumerate(rows)))
    return str(path)


def figures(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert main(["diversity", *args, "--metrics", "distinct_1", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("column", ["valid", "correct", "verdicts"])
def test_verdicts_of_a_known_column(column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", outputs=OUTPUTS, **{column: RIGHT})
    found = figures(capsys, file)["solutions"]
    assert found["pass@4"] == pass_at_k(RIGHT, 4).to_dict()
    assert found["pass^4"] == pass_hat_k(RIGHT, 4).to_dict()
    assert found["distinct_valid"] == distinct_valid(OUTPUTS, RIGHT).to_dict()
    assert found["exp_entropy"] == effective_answers(OUTPUTS, RIGHT).to_dict()
    assert (
        found["diversity_of_right"]["distinct_1"] == quality_filtered_diversity(OUTPUTS, RIGHT, DistinctN(1)).to_dict()
    )
    assert "pass@1" in found and "pass@16" not in found


def test_files_without_verdicts_have_no_figures_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "solutions" not in figures(capsys, write(tmp_path / "a.jsonl", outputs=OUTPUTS))
    # A column of that name with something else in it is none.
    other = write(tmp_path / "b.jsonl", outputs=OUTPUTS, correct=["Ohio", "Utah", "Iowa"])
    assert "solutions" not in figures(capsys, other)


def test_k_and_a_column_of_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", outputs=OUTPUTS, passed=RIGHT)
    found = figures(capsys, file, "--verdicts", "passed", "--k", "2, 8")["solutions"]
    assert found["pass@2"] == pass_at_k(RIGHT, 2).to_dict()
    assert found["pass@8"] == {"value": None, "stderr": None, "ci": [None, None], "n": 0}
    assert main(["diversity", file, "--verdicts", "passed", "--k", "8", "--metrics", "distinct_1"]) == 0
    assert "no input has so many outputs" in capsys.readouterr().out


def test_a_checker_sees_prompts_and_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", outputs=OUTPUTS, family=["us_state"] * 3)
    found = figures(capsys, file, "--checker", "tests.cli.checkers:is_state", "--k", "2")["solutions"]
    assert found["pass@2"] == pass_at_k(RIGHT, 2).to_dict()
    three = figures(capsys, file, "--checker", "tests.cli.checkers:is_state", "--outputs-per-input", "3")
    assert three["solutions"]["valid"] == valid_share([each[:3] for each in RIGHT]).to_dict()


def test_a_checker_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "a.jsonl", outputs=OUTPUTS)
    code = "def short(prompts, completions):\n    return [len(text) == 4 for text in completions]\n"
    (tmp_path / "checks_that_lie_here.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    found = figures(capsys, file, "--checker", "checks_that_lie_here:short")["solutions"]
    assert found["valid"]["value"] == pytest.approx((2 + 4 + 2) / 12)


def test_verdicts_go_with_the_outputs_that_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.jsonl", outputs=OUTPUTS, valid=RIGHT)
    found = figures(capsys, file, "--outputs-per-input", "2")["solutions"]
    assert found["pass@1"] == pass_at_k([each[:2] for each in RIGHT], 1).to_dict()


def test_a_comparison_says_where_the_first_file_overtakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [[True, False, False, False]] * 3
    trained = [[True] * 4, [True, True, False, False], [False] * 4]
    files = [write(tmp_path / f"{name}.jsonl", outputs=OUTPUTS, valid=v) for name, v in (("a", base), ("b", trained))]
    # Inputs are matched by their prompts, in whatever order they stand.
    lines = Path(files[1]).read_text().splitlines()
    Path(files[1]).write_text("\n".join(reversed(lines)) + "\n")
    found = figures(capsys, *files, "--compare", "--k", "1,4")["comparisons"][files[1]]["solutions"]
    assert found["crossing"] == crossing_point(base, trained).to_dict()
    assert found["crossing"]["k"] == 3
    assert found["pass@4"]["value"] == pytest.approx(2 / 3 - 1)
    table = tmp_path / "t.csv"
    assert main(["diversity", *files, "--compare", "--metrics", "distinct_1", "--csv", str(table)]) == 0
    assert f"{files[0]} overtakes {files[1]} at k = 3" in capsys.readouterr().out
    rows = list(csv.DictReader(table.open()))
    assert {row["metric"] for row in rows if row["level"] == "solutions" and row["less"]} == {"pass@1", "pass@4"}


def test_cells_of_a_table_are_lists_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["prompt", "outputs", "valid"])
        writer.writerows(
            [f"q{n}", json.dumps(texts), json.dumps(right)]
            for n, (texts, right) in enumerate(zip(OUTPUTS, RIGHT, strict=True))
        )
    assert figures(capsys, str(file))["solutions"]["pass@1"] == pass_at_k(RIGHT, 1).to_dict()


def test_a_row_for_every_sample_with_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": n, "answer": text, "score": {"exact": said}}
        for k in range(4)
        for n, (texts, right) in enumerate(zip(OUTPUTS, RIGHT, strict=True))
        for text, said in [(texts[k], right[k])]
    ]
    file = tmp_path / "samples.jsonl"
    options = ["--outputs-column", "answer", "--group-by", "id", "--verdicts", "score.exact"]
    for true, false in ((True, False), (1.0, 0.0), ("C", "I"), ("True", "False")):
        said = [{**row, "score": {"exact": true if row["score"]["exact"] else false}} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in said))
        found = figures(capsys, str(file), *options)["solutions"]
        assert found["pass@4"] == pass_at_k(RIGHT, 4).to_dict()
        assert found["distinct_valid"] == distinct_valid(OUTPUTS, RIGHT).to_dict()
    file.write_text("".join(json.dumps({**row, "score": {"exact": "maybe"}}) + "\n" for row in rows))
    assert main(["diversity", str(file), *options]) == 1
    assert "line 1 has 'maybe' for a verdict in 'score.exact'" in capsys.readouterr().err


def test_the_verdict_of_an_output_that_is_null_goes_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"q": n, "a": ["x", None, "y"], "ok": [True, False, False]} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = figures(capsys, str(file), "--outputs-column", "a", "--verdicts", "ok")["solutions"]
    assert found["pass@1"] == pass_at_k([[True, False]] * 3, 1).to_dict()


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, ["--k", "4"], "--k needs to know which outputs are right, and"),
        ({"valid": RIGHT}, ["--k", "0"], "--k is '0'; give whole numbers"),
        ({"valid": RIGHT}, ["--k", "a,b"], "--k is 'a,b'"),
        ({"valid": [RIGHT[0], None, RIGHT[2]]}, [], "line 2 has no verdicts in 'valid'"),
        ({"valid": [RIGHT[0], [True], RIGHT[2]]}, [], "line 2 has 4 output(s) and 1 verdict(s)"),
        ({"valid": [RIGHT[0], [0.5] * 4, RIGHT[2]]}, [], "line 2: verdicts, output 0 is 0.5"),
        ({}, ["--verdicts", "right"], "line 1 has no column 'right'"),
        ({}, ["--checker", "is_state"], "give package.module:function"),
        ({}, ["--checker", "tests.cli.checkers:nothing"], "cannot be loaded"),
        ({}, ["--checker", "tests.cli.checkers:STATES"], "give a function of prompts and completions"),
        ({}, ["--checker", "tests.cli.checkers:scores"], "line 1: verdicts, output 0 is 0.5"),
        ({}, ["--checker", "tests.cli.checkers:raises"], "raises, asked for the rewards of 4 completions, raised"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    columns: dict[str, Any], options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "a.jsonl", outputs=OUTPUTS, **columns)
    assert main(["diversity", file, "--metrics", "distinct_1", *options]) == 1
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("genrlhf:")]
    assert len(errors) == 1 and message in errors[0]
