"""Files of all kinds: how records come out of them, and what damaged, hostile and odd ones do."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from genrlhf.errors import DataError
from genrlhf.integrations.files import json_stream, tables
from genrlhf.integrations.files.json_stream import JsonReader, json_records
from genrlhf.integrations.files.records import Records


def records(data: bytes | str, folder: Path, name: str = "x") -> list[Any]:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return [record for _, record in Records(folder / name).rows()]


class OneByOne(io.BytesIO):
    """Gives a few bytes at a time, so that everything is cut somewhere."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(json_values, max_size=5), st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_list_read_in_pieces_is_what_json_says(values: list[Any], indent: int | None, ascii_only: bool) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    for stream in (OneByOne(data), io.BytesIO(data)):
        reader = JsonReader(stream, "f")
        assert list(reader.elements()) == json.loads(data)
        reader.end()


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
@settings(max_examples=100, deadline=None)
def test_members_are_read_or_skipped(value: dict[str, Any]) -> None:
    data = json.dumps(value).encode()
    reader = JsonReader(OneByOne(data), "f")
    found = {}
    for number, name in enumerate(reader.members()):
        if number % 2:
            found[name] = reader.value()
        else:
            reader.skip()
    reader.end()
    assert found == dict(list(value.items())[1::2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"a": 1}, {"a" 2}]', "f, row 1 is not JSON: Expecting ':' delimiter near"),
        (b'[{"a": 1}, {"a": 2}', r"f(, row 1)? is not JSON: it breaks off"),
        (b'[{"a": 1} {"a": 2}]', "f, row 0 is not JSON: Expecting ','"),
        (b'[{"a": "x', "it breaks off|Unterminated string"),
        (b'[{"a": 1}] 5', "f is not JSON: More follows near"),
        (b'[{"a": "\xff\xff"}]', "is not UTF-8"),
        (b"[" * 100_000, "cannot be read as JSON|breaks off"),
        (b"[[" + b"1" * 5000 + b"]]", "cannot be read as JSON"),
    ],
)
def test_damaged_lists(data: bytes, message: str) -> None:
    for stream in (io.BytesIO(data), OneByOne(data)):
        with pytest.raises(DataError, match=message):
            list(json_records(stream, data, "f"))


def test_lines_lists_and_objects_are_told_apart(tmp_path: Path) -> None:
    two = [{"a": 1}, {"a": [2, "{"]}]
    for text in (
        '{"a": 1}\n{"a": [2, "{"]}',
        '\r\n{"a": 1}\r\n\r\n  {"a": [2, "{"]}\r\n',
        '[{"a": 1}, {"a": [2, "{"]}]',
        '[\n{"a": 1},\n{"a": [2, "{"]}\n]\n',
        '[{"a": 1},\n{"a": [2, "{"]}\n]',
    ):
        assert records(text, tmp_path) == two
        assert records("\ufeff" + text, tmp_path) == two
        assert records(gzip.compress(text.encode()), tmp_path) == two
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            assert records(text.strip().encode(encoding), tmp_path) == two
    assert records('{"a": 1}', tmp_path) == [{"a": 1}]
    assert records('{\n"a": 1\n}', tmp_path) == [{"a": 1}]
    # A list a line, as the pipelines' are when written one by one.
    assert records("[1]\n[2, 3]\n", tmp_path) == [[1], [2, 3]]
    assert records('{"x": 1, "samples": [{"y": 2}]}', tmp_path) == [{"x": 1, "samples": [{"y": 2}]}]
    assert records('{"eval": 1,\n"samples": [{"y": 2}, {"y": 3}]}', tmp_path) == [{"y": 2}, {"y": 3}]


def test_a_first_line_longer_than_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "_HEAD", 50)
    rows = [{"a": "x" * 100}, {"a": "y"}]
    for text in ("\n".join(map(json.dumps, rows)), json.dumps(rows), json.dumps(rows, indent=1)):
        assert records(text, tmp_path) == rows


def test_nothing_there(tmp_path: Path) -> None:
    for data in (b"", b" \n\r\n", b"\xef\xbb\xbf", b"\xff\xfe", gzip.compress(b"")):
        (tmp_path / "x").write_bytes(data)
        assert Records(tmp_path / "x").kind == "empty"
    assert records("[]", tmp_path) == []
    assert records("a,b\n", tmp_path, "x.csv") == []


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('a,b\n1,"x, ""y""\nz"\n', [{"a": "1", "b": 'x, "y"\nz'}]),
        ("a\tb\r\n1\t2, 3\r\n", [{"a": "1", "b": "2, 3"}]),
        ("a;b\n1;2,5\n", [{"a": "1", "b": "2,5"}]),
        ("only\none\n\ntwo", [{"only": "one"}, {"only": "two"}]),
        ("\ufeffa, b\n NaN,null", [{"a": " NaN", "b": "null"}]),
        (",a\n0,x", [{"": "0", "a": "x"}]),
    ],
)
def test_tables(text: str, rows: list[dict[str, str]], tmp_path: Path) -> None:
    assert records(text, tmp_path, "x.csv") == rows
    assert records(gzip.compress(text.encode("utf-16")), tmp_path, "noname") == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,a\n1,2", "has two columns 'a'"),
        ("a,b\n1,2,3", r"line 2 has 3 cell\(s\), and there are 2 columns"),
        ('a,b\n1,"2', "line 2 is no row of a table"),
        ('a,b\n1,"2"3', "line 2 is no row of a table"),
        (b"a,b\n1,caf\xe9", "line 2 is not UTF-8"),
        ("a,b\n1," + "x" * 2000, "has more than 1,000 bytes"),
        ('a,b\n1,"' + "x\n" * 2000, "is no row of a table"),
    ],
)
def test_damaged_tables(text: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match=message):
        records(text, tmp_path, "x.csv")


def test_the_limit_of_cells_is_the_others_business(tmp_path: Path) -> None:
    import csv

    before = csv.field_size_limit()
    assert records("a\n" + "x" * 200_000, tmp_path, "x.csv") == [{"a": "x" * 200_000}]
    assert csv.field_size_limit() == before


def test_parquet_reads_what_is_wanted(tmp_path: Path) -> None:
    rows = [{"a": n, "b": {"c": [None, "é"]}, "d": None} for n in range(200)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x")
    there = Records(tmp_path / "x")
    assert there.kind == "parquet"
    assert [row for _, row in there.rows()] == rows
    assert list(there.rows(["b", "none"])) == [(f"row {n}", {"b": rows[0]["b"]}) for n in range(200)]
    data = (tmp_path / "x").read_bytes()
    for damaged in (data[:100], data[:-9] + b"\0" * 9, data[:40] + b"\xff" * 200 + data[240:]):
        with pytest.raises(DataError, match=r"x cannot be read as Parquet"):
            records(damaged, tmp_path)
    with pytest.raises(DataError, match="is gzipped, and its kind has a compression of its own"):
        records(gzip.compress(data), tmp_path)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MOST_BYTES", 100_000)
    row = json.dumps({"a": "x" * 300_000})
    for text in (f'{{"a": 1}}\n{row}', f'[{{"a": 1}}, {row}]', f'{{\n"a": {row}}}'):
        with pytest.raises(DataError, match=r"has more than 100,000 (bytes|characters)"):
            records(text, tmp_path)
        with pytest.raises(DataError, match=r"has more than 100,000 (bytes|characters)"):
            records(gzip.compress(text.encode()), tmp_path)


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    for data, message in (
        (pickle.dumps([1]), "is a pickle, which could run any code"),
        (b"\x28\xb5\x2f\xfd123", "is compressed with zstd"),
        (b"SQLite format 3\0", "is an SQLite data base"),
        (b"\x7fELF\x00\x01\x02abc", "is no text"),
        (b"\xff\xfea\x00b", "cannot be unpacked|is not UTF-16"),
        (gzip.compress(b'{"a": 1}' * 9)[:-9], "cannot be unpacked"),
    ):
        with pytest.raises(DataError, match=message):
            records(data, tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        Records(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder"):
        Records(tmp_path)


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


SAMPLE = (
    b'{"id": 1, "epoch": 1, "input": "q", "output": {}, "events": [{"x": [1, {"y": "z"}]}, 5], "more": {"a": null}}'
)


def test_archives(tmp_path: Path) -> None:
    names = ["samples/10_epoch_1.json", "samples/2_epoch_1.json", "samples/2_epoch_2.json", "summaries.json"]
    path = zipped(tmp_path / "x", dict.fromkeys(names, SAMPLE))
    found = list(Records(path).rows())
    assert [place for place, _ in found] == [names[1], names[0], names[2]]
    assert found[0][1] == {"id": 1, "epoch": 1, "input": "q", "output": {}}
    with pytest.raises(DataError, match="is an archive, but none that Inspect wrote"):
        list(Records(zipped(tmp_path / "y", {"a.txt": b""})).rows())
    with pytest.raises(DataError, match="is an Inspect log without samples"):
        list(Records(zipped(tmp_path / "y", {"header.json": b""})).rows())


def test_damaged_and_hostile_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genrlhf.integrations.files import archives

    path = zipped(tmp_path / "x", {"samples/1_epoch_1.json": SAMPLE, "samples/2_epoch_1.json": SAMPLE})
    data = path.read_bytes()
    with pytest.raises(DataError, match="cannot be unpacked"):
        records(data[:100], tmp_path)
    with pytest.raises(DataError, match="samples/1_epoch_1.json cannot be unpacked|is not JSON"):
        records(data[:60] + b"\xff\xff\xff\xff" + data[64:], tmp_path)
    # A member that says it is compressed with zstd, and is not.
    lying = data.replace(struct.pack("<H", 8) + data[10:14], struct.pack("<H", 93) + data[10:14])
    with pytest.raises(DataError, match="samples/1_epoch_1.json cannot be unpacked"):
        records(lying, tmp_path)
    monkeypatch.setattr(archives, "MOST_SAMPLE_BYTES", 1_000_000)
    bomb = b'{"events": [' + b"0," * 2_000_000 + b"0]}"
    with pytest.raises(DataError, match="is larger than can be read"):
        list(Records(zipped(tmp_path / "bomb", {"samples/1_epoch_1.json": bomb})).rows())
    monkeypatch.setattr(json_stream, "MOST_BYTES", 100_000)
    bomb = b'{"events": "' + b"0" * 500_000 + b'"}'
    with pytest.raises(DataError, match="has more than 100,000 characters"):
        list(Records(zipped(tmp_path / "bomb", {"samples/1_epoch_1.json": bomb})).rows())


def test_text_that_is_wrong_utf_16_in_the_middle(tmp_path: Path) -> None:
    # Half a character, which the encoding does not allow.
    data = '{"a": "x'.encode("utf-16") + b"\x00\xd8" + '"}'.encode("utf-16-le")
    with pytest.raises(DataError, match="is not UTF-16"):
        records(data, tmp_path)
