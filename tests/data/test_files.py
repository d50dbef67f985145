"""Files of rows: what is read, and what is said of files that cannot be."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sys
import threading
from pathlib import Path

import pytest

from genrlhf.data import read_rows, write_rows
from genrlhf.data.files import iter_rows
from genrlhf.errors import DataError

ROWS = [{"prompt": "a", "n": 1}, {"prompt": "ü\n", "n": 2}]
LINES = '{"prompt": "a", "n": 1}\n{"prompt": "ü\\n", "n": 2}\n'.encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.jsonl", LINES),
        ("rows.jsonl", b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n\r\n")),
        ("rows.jsonl", LINES.rstrip()),
        ("rows.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("rows.json", json.dumps(ROWS, indent=1).encode()),
        ("rows.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("rows.jsonl.json", json.dumps(ROWS).encode()),
    ],
)
def test_reads_every_kind(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert read_rows(tmp_path / name).to_list() == ROWS
    assert read_rows(str(tmp_path / name)).column_names == ["prompt", "n"]


def test_a_column_that_later_rows_have_is_kept(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": "x"}\n{"a": "y", "b": 2}\n')
    assert read_rows(tmp_path / "rows.jsonl").to_list() == [{"a": "x", "b": None}, {"a": "y", "b": 2}]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("r.jsonl", b'{"a": 1}\n\n{"a": \n', "r.jsonl, line 3 is not JSON: Expecting value at column"),
        ("r.jsonl", b'{"a": 1}\n[1, 2]\n', "r.jsonl, line 2 is [1, 2], which is no JSON object"),
        ("r.jsonl", b'{"a": "x"}\n{"a": "\xff"}\n', "r.jsonl, line 2 is not UTF-8 (invalid start byte at byte 7)"),
        (
            "r.jsonl",
            b'{"a": "x"}\n{"a": "y"}\n{"a": 3}\n',
            "r.jsonl, line 3, column 'a' is 3, which does not go with 'x'",
        ),
        (
            "r.jsonl",
            b'{"a": null}\n{"a": [1]}\n{"a": "y"}\n',
            "r.jsonl, line 3, column 'a' is 'y', which does not go with",
        ),
        ("r.jsonl", b'{"a": "\\ud800"}\n', "r.jsonl, line 1, column 'a' is '\\ud800'"),
        ("r.jsonl", b'{"a": ' + b"[" * 200_000, "r.jsonl, line 1 "),
        ("r.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "r.jsonl, line 1 cannot be read as JSON"),
        ("r.jsonl", b"\n \n", "r.jsonl holds no rows"),
        ("r.jsonl", b"{}\n{}\n", "r.jsonl holds no rows"),
        ("r.jsonl", b"", "r.jsonl holds no rows"),
        ("r.jsonl.gz", LINES, "r.jsonl.gz cannot be unpacked after line 0"),
        ("r.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9], "r.jsonl.gz cannot be unpacked after line"),
        ("r.json", b'[{"a": 1},\n {"a" 2}]', "r.json is not JSON: Expecting ':' delimiter at line 2, column 7"),
        ("r.json", b'{"a": 1}', "r.json holds {'a': 1}; a .json file must be one list of rows"),
        ("r.json", b'[{"a": 1}, "b"]', "r.json, row 1 is 'b', which is no JSON object"),
        ("r.json", b"[]", "r.json holds no rows"),
        ("r.json", b" ", "r.json holds no rows"),
        ("r.json.gz", b"[]", "r.json.gz cannot be unpacked"),
        ("r.csv", b"a,b", "r.csv is of no known kind; give a file whose name ends in .jsonl, .jsonl.gz, .json"),
    ],
)
def test_errors_say_where(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=re.escape(message)):
        read_rows(tmp_path / name)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.jsonl does not exist"):
        read_rows(tmp_path / "no.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DataError, match=r"folder\.jsonl is a folder"):
        read_rows(tmp_path / "folder.jsonl")


@pytest.mark.parametrize("name", ["rows.jsonl", "new/rows.jsonl.gz"])
def test_written_rows_are_read_back(tmp_path: Path, name: str) -> None:
    write_rows(ROWS, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    # Bytes 4 to 8 of a gzip file are its time stamp (RFC 1952).
    assert not name.endswith("gz") or data[4:8] == bytes(4)
    assert (gzip.decompress(data) if name.endswith("gz") else data) == LINES
    write_rows(read_rows(tmp_path / name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == data
    assert [file.name for file in (tmp_path / name).parent.iterdir()] == [Path(name).name]


@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz"])
def test_rows_written_as_one_list_are_read_back(tmp_path: Path, name: str) -> None:
    write_rows(ROWS, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert json.loads(gzip.decompress(data) if name.endswith("gz") else data) == [dict(row) for row in ROWS]
    write_rows(read_rows(tmp_path / name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == data


def test_a_row_that_cannot_be_written_leaves_the_file_alone(tmp_path: Path) -> None:
    write_rows(ROWS, tmp_path / "rows.jsonl")
    for bad in (float("nan"), {1, 2}):
        with pytest.raises(DataError, match=r"row 1 cannot be written as JSON"):
            write_rows([{"a": 1}, {"a": bad}], tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_bytes() == LINES
    with pytest.raises(DataError, match=r"give a name that ends in \.jsonl"):
        write_rows(ROWS, tmp_path / "rows.csv")


class Stdin:
    """What `sys.stdin` is to those who read bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BufferedReader(io.BytesIO(data))


@pytest.mark.parametrize("before", [b"", b"\n \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["]", "\n", ""])
def test_streams_are_read_whatever_they_hold(
    before: bytes, packed: bool, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"p{number}", "outputs": ["a\u2028b"]} for number in range(3)]
    text = json.dumps(rows) if end == "]" else "\n".join(map(json.dumps, rows)) + end
    data = gzip.compress(before + text.encode()) if packed else before + text.encode()
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    assert [row for _, row in iter_rows("-")] == rows
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    assert read_rows("-")["prompt"][:] == ["p0", "p1", "p2"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert [row for _, row in iter_rows(pipe)] == rows
    writer.join()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input holds no rows"),
        (b" \n", "standard input holds no rows"),
        (b"{}\n3", "standard input, line 2 is 3, which is no JSON object"),
        (b"\n\n{", "standard input, line 3 is not JSON"),
        (b"[3]", "standard input, row 0 is 3, which is no JSON object"),
        (b"[{}", "standard input is not JSON"),
        (gzip.compress(LINES, mtime=0)[:-9], "standard input cannot be unpacked"),
        (gzip.compress(b"[{}]", mtime=0)[:-9], "standard input cannot be unpacked"),
        (b"\x1f\x8bno", "standard input cannot be unpacked"),
    ],
)
def test_streams_that_cannot_be_read(data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    with pytest.raises(DataError, match=message):
        read_rows("-")


def test_a_file_of_that_name_is_no_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("{}")
    with pytest.raises(DataError, match=r"- is of no known kind"):
        list(iter_rows("./-"))
