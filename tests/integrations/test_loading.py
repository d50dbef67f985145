"""Columns that are named, samples that are grouped, and rows that are left out."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from genrlhf.errors import ConfigError, DataError
from genrlhf.integrations import OutputsFile, load_outputs

ROWS = [
    {"id": 2, "q": {"text": "why?"}, "a": "one", "gold": "g"},
    {"id": 1, "q": {"text": "who?"}, "a": "two", "gold": None},
    {"id": 2, "q": {"text": "why?"}, "a": "three", "gold": "g"},
]
COLUMNS = {"prompt_column": "q.text", "outputs_column": "a"}


def write(rows: Any, folder: Path, name: str = "x") -> Path:
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    elif name.endswith(".csv"):
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    else:
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_columns_by_their_paths(name: str, tmp_path: Path) -> None:
    file = write(ROWS, tmp_path, name)
    assert load_outputs(file, **COLUMNS) == [
        {"prompt": "why?", "outputs": ["one"]},
        {"prompt": "who?", "outputs": ["two"]},
        {"prompt": "why?", "outputs": ["three"]},
    ]
    assert load_outputs(file, **COLUMNS, group_by="id", reference_column="gold") == [
        {"prompt": "why?", "outputs": ["one", "three"], "reference": "g"},
        {"prompt": "who?", "outputs": ["two"]},
    ]
    # What samples are grouped by is the prompt, where none is named.
    assert load_outputs(file, outputs_column="a", group_by="q.text") == [
        {"prompt": "why?", "outputs": ["one", "three"]},
        {"prompt": "who?", "outputs": ["two"]},
    ]
    assert [row["prompt"] for row in load_outputs(file, outputs_column="a")] == [None] * 3


def test_a_column_with_a_point_in_its_name(tmp_path: Path) -> None:
    rows = [{"a.b": "x", "a": {"b": "y"}}]
    for name in ("x.jsonl", "x.parquet"):
        assert load_outputs(write(rows, tmp_path, name), outputs_column="a.b")[0]["outputs"] == ["x"]


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.jsonl"])
def test_a_missing_column_says_which_there_are(name: str, tmp_path: Path) -> None:
    file = write([{"question": "p", "answer": "o"}], tmp_path, name)
    for columns in ({"outputs_column": "output"}, {"outputs_column": "answer", "prompt_column": "output"}):
        with pytest.raises(DataError, match=r"has no column 'output'; its columns are 'question', 'answer'"):
            load_outputs(file, **columns)
    with pytest.raises(DataError, match=r"no known format of outputs: its columns are 'question', 'answer'; say which"):
        load_outputs(file)
    with pytest.raises(DataError, match="no column 'q'"):
        load_outputs(file, outputs_column="answer", group_by="q")


def test_cells_of_a_table_that_are_lists(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('p,outs\n1,"[""a"", ""b""]"\n2,"[]"\n')
    rows = load_outputs(tmp_path / "x.csv", prompt_column="p", outputs_column="outs")
    assert [row["outputs"] for row in rows] == [["a", "b"], []]
    # One row a sample: a text that looks like a list is a text.
    rows = load_outputs(tmp_path / "x.csv", outputs_column="outs", group_by="p")
    assert [row["outputs"] for row in rows] == [['["a", "b"]'], ["[]"]]
    (tmp_path / "x.csv").write_text('prompt,outputs\np,"[""a""]"\nq,"[\'b\']"\n')
    with pytest.raises(DataError, match='line 3, "outputs", is not JSON'):
        load_outputs(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("value", "outputs"),
    [
        ("a", ["a"]),
        (["a", "", None], ["a", ""]),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], ["a"]),
        (
            [[{"role": "assistant", "content": [{"type": "thinking", "text": "t"}, {"type": "text", "text": "a"}]}]],
            ["a"],
        ),
        ([float("nan"), "a"], ["a"]),
    ],
)
def test_what_a_cell_may_hold(value: Any, outputs: list[str], tmp_path: Path) -> None:
    assert load_outputs(write([{"o": value}], tmp_path), outputs_column="o")[0]["outputs"] == outputs


@pytest.mark.parametrize("value", [5, True, {"a": "b"}, [1], [["a"]], 0.5])
def test_what_is_no_text(value: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2 has .* in 'o', which is no text"):
        load_outputs(write([{"o": "a"}, {"o": value}], tmp_path), outputs_column="o")


def test_null_outputs_are_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write([{"o": "a"}, {"o": None}, {"o": None}], tmp_path)
    with caplog.at_level(logging.WARNING):
        assert load_outputs(file, outputs_column="o") == [{"prompt": None, "outputs": ["a"]}]
    assert (
        "2 output(s) that are null are left out, and 2 row(s) that have no other; the first is in line 2" in caplog.text
    )
    # In our own form, null is a mistake.
    with pytest.raises(DataError, match='line 1 has \\[None\\] for "outputs"; give a list of strings'):
        load_outputs(write([{"prompt": "p", "outputs": [None]}], tmp_path))


def test_our_own_rows_keep_their_columns(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "outputs": ["a"], "reference": "r", "ended": [True], "completion": "c", "output": "x"}]
    assert load_outputs(write(rows, tmp_path)) == rows


def test_a_format_that_is_named(tmp_path: Path) -> None:
    row = {"prompt": "p", "completion": "c", "instruction": "i", "output": "o"}
    file = write([row], tmp_path)
    with pytest.raises(DataError, match="may be in the format alpaca_eval or trl; say which with --format"):
        load_outputs(file)
    assert load_outputs(file, format="trl") == [{"prompt": "p", "outputs": ["c"]}]
    assert load_outputs(file, format="alpaca_eval") == [{"prompt": "i", "outputs": ["o"]}]
    assert load_outputs(file, format="trl", prompt_column="instruction") == [{"prompt": "i", "outputs": ["c"]}]
    with pytest.raises(ConfigError, match="There is no format 'alpaca'"):
        load_outputs(file, format="alpaca")
    with pytest.raises(ConfigError, match="exclude each other"):
        load_outputs(file, format="trl", outputs_column="output")


def test_rows_of_a_known_format_can_be_grouped(tmp_path: Path) -> None:
    rows = [{"instruction": f"i{n % 2}", "output": str(n), "split": "ab"[n // 2]} for n in range(4)]
    file = write(rows, tmp_path)
    assert len(load_outputs(file)) == 4
    assert [row["outputs"] for row in load_outputs(file, group_by="instruction")] == [["0", "2"], ["1", "3"]]
    assert [row["outputs"] for row in load_outputs(file, group_by="split")] == [["0", "1"], ["2", "3"]]
    with pytest.raises(DataError, match="line 2 has nothing by which samples are grouped"):
        load_outputs(write([rows[0], {**rows[1], "instruction": "i", "split": None}], tmp_path), group_by="split")


@pytest.mark.parametrize("key", [1, "1", [1], {"b": 1, "a": [None]}, True, 1.5, "é\u2028", "\ud83d"])
def test_whatever_samples_are_grouped_by(key: Any, tmp_path: Path) -> None:
    rows = [{"k": key, "o": "\ud83d a"}, {"k": "other", "o": "b"}, {"k": key, "o": "c"}]
    file = write(rows, tmp_path)
    assert [row["outputs"] for row in load_outputs(file, outputs_column="o", group_by="k")] == [
        ["\ud83d a", "c"],
        ["b"],
    ]


def test_dates_and_bytes_in_parquet(tmp_path: Path) -> None:
    import datetime

    rows = [{"k": datetime.datetime(2026, 1, 1 + n % 2), "o": "x", "raw": b"\xff"} for n in range(3)]
    file = write(rows, tmp_path, "x.parquet")
    assert [row["outputs"] for row in load_outputs(file, outputs_column="o", group_by="k")] == [["x", "x"], ["x"]]
    with pytest.raises(DataError, match=r"has b'\\xff' in 'raw', which is no text"):
        load_outputs(file, outputs_column="raw")
    with pytest.raises(DataError, match="for the prompt in 'raw'; give text, or a list of messages"):
        load_outputs(file, outputs_column="o", prompt_column="raw")


def test_nothing_to_load(tmp_path: Path) -> None:
    for text in ("", "[]", "prompt,outputs\n"):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(DataError, match="holds no rows|is in no known format"):
            load_outputs(tmp_path / "x.csv")


@pytest.mark.parametrize("record", [5, "text", None, [], ["a"], [5], {}])
def test_records_of_odd_kinds(record: Any, tmp_path: Path) -> None:
    for rows in ([record], [{"prompt": "p", "outputs": ["a"]}, record], [[{"generated_text": "a"}], record]):
        (tmp_path / "x.json").write_text(json.dumps(rows))
        if record == [] and len(rows) > 1 and isinstance(rows[0], list):
            # A prompt without samples, which is for whoever counts them to refuse.
            assert load_outputs(tmp_path / "x.json")[1]["outputs"] == []
            continue
        with pytest.raises(DataError):
            load_outputs(tmp_path / "x.json")


def test_the_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b'{"prompt": "p", "outputs": ["a"]}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert load_outputs("-") == [{"prompt": "p", "outputs": ["a"]}]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    with pytest.raises(DataError, match="standard input is in no known format"):
        load_outputs("-")


def test_a_pipe_is_read(tmp_path: Path) -> None:
    import threading

    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_text, args=('[{"prompt": "p", "outputs": ["a"]}]',))
    thread.start()
    assert load_outputs(tmp_path / "pipe") == [{"prompt": "p", "outputs": ["a"]}]
    thread.join()


@pytest.mark.parametrize("form", ["lines", "list", "grouped", "table"])
def test_memory_does_not_grow_with_the_file(form: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    text = "words " * 400
    with path.open("w") as file:
        file.write({"list": "[", "table": "prompt,completion\n"}.get(form, ""))
        for number in range(3000):
            if form == "table":
                file.write(f"{number % 100},{text}{number}\n")
                continue
            row = {"prompt": str(number), "outputs": [f"{text}{number}"]}
            if form == "grouped":
                row = {"prompt": str(number % 100), "completion": f"{text}{number}"}
            file.write(("," if form == "list" and number else "") + json.dumps(row) + ("" if form == "list" else "\n"))
        file.write("]" if form == "list" else "")
    assert path.stat().st_size > 6e6
    tracemalloc.start()
    rows = 0
    for _, row in OutputsFile(path):
        rows += len(row["outputs"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 3000
    # The first MiB is looked at as a whole; what is grouped waits in memory up to 16 MiB.
    assert peak < (24e6 if form in ("grouped", "table") else 5e6)


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
@pytest.mark.parametrize("nothing", [None, math.nan])
def test_rows_that_belong_to_no_group_are_refused(nothing: float | None, name: str, tmp_path: Path) -> None:
    rows = [{"id": key, "q": "why?", "a": "one"} for key in (1.0, 1.0, nothing, nothing)]
    with pytest.raises(DataError, match=r"(line 3|row 2) has nothing by which samples are grouped in 'id'"):
        load_outputs(write(rows, tmp_path, name), prompt_column="q", outputs_column="a", group_by="id")


@pytest.mark.parametrize(
    "row",
    [
        {"custom_id": "a", "response": {"status_code": 429, "body": {"error": {}}}},
        {"prompt": "p", "generations": [None, None]},
        {"prompt": "p", "completion": None},
    ],
)
def test_a_file_without_any_output_says_so(row: dict[str, Any], tmp_path: Path) -> None:
    file = write([row] * 2, tmp_path)
    with pytest.raises(DataError, match=r"has no outputs: those of all . row\(s\) are null.* from line 1 on"):
        load_outputs(file)
