"""Rows in files: JSON lines (plain or gzipped) and JSON lists, read with the place of every error."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from genrlhf.errors import DataError, excerpt
from genrlhf.json_text import parse_json

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["STDIN", "SUFFIXES", "iter_rows", "named", "read_rows", "replacing", "write_rows"]

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
"""How the names of files end that `read_rows` reads."""

STDIN = "-"
"""What stands for standard input where a file of rows is read."""


def read_rows(path: str | os.PathLike[str]) -> Dataset:
    """Read a file of rows: JSON objects, one a line (`.jsonl`, `.jsonl.gz`) or in one list (`.json`, `.json.gz`).

    Lines of white space are passed over. A column that some rows lack is None there.

    Args:
        path: the file, in UTF-8, or `-` for standard input.

    Raises:
        DataError: no such file, no row in it, a line that is no JSON object (lines are counted from 1, as editors do;
            rows of a list from 0), or a column whose values are of different types.
    """
    file = named(path)
    places: list[str] = []
    rows: list[dict[str, Any]] = []
    for place, row in iter_rows(path):
        places.append(place)
        rows.append(row)
    if not rows or not any(rows):
        raise DataError(f"{file} holds no rows; write one JSON object a row.")
    return _to_dataset(rows, places, file)


def iter_rows(path: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place ("line 3", "row 3") and content of every row of a file, lines as they are read.

    `-` is standard input. It and a pipe may hold any kind of file, which is told from how it begins.

    Raises:
        DataError: as `read_rows`, but for a file without rows.
    """
    if os.fspath(path) == STDIN:
        yield from _objects(_from_stream(cast("Any", sys.stdin).buffer, named(STDIN)), STDIN)
        return
    file = Path(path).expanduser()
    if file.is_fifo() or file.is_char_device():
        with file.open("rb") as stream:
            yield from _objects(_from_stream(stream, str(file)), file)
        return
    if not file.name.endswith(SUFFIXES):
        raise DataError(f"{file} is of no known kind; give a file whose name ends in {', '.join(SUFFIXES)}.")
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise DataError(f"{file} {what}; give the path of a file of rows.")
    reader = _from_lines if file.name.endswith((".jsonl", ".jsonl.gz")) else _from_list
    yield from _objects(reader(file), file)


def named(path: str | os.PathLike[str]) -> str:
    """Return what messages call a file of rows."""
    return "standard input" if os.fspath(path) == STDIN else str(Path(path).expanduser())


def _objects(rows: Iterator[tuple[str, Any]], path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, row in rows:
        if not isinstance(row, dict):
            where = f"{named(path)}, {place}"
            raise DataError(
                f'{where} is {excerpt(row)}, which is no JSON object; write a row as {{"column": value, …}}.'
            )
        yield place, row


def write_rows(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Write rows as JSON lines, or as one list; the file appears whole or not at all.

    A half of a character, which no file can hold, becomes a question mark.

    Args:
        rows: a dataset, or dictionaries that JSON can hold.
        path: a name that ends in one of `SUFFIXES`, see `read_rows`; its folder is made where it is missing.

    Raises:
        DataError: another kind of file, or a row that JSON cannot hold.
    """
    file = Path(path).expanduser()
    if not file.name.endswith(SUFFIXES):
        raise DataError(f"write_rows cannot write {file}; give a name that ends in {', '.join(SUFFIXES)}.")
    lines = []
    for number, row in enumerate(rows):
        try:
            lines.append(json.dumps(dict(row), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"))
        except (TypeError, ValueError) as error:
            raise DataError(f"row {number} cannot be written as JSON ({error}); change {excerpt(row)}.") from error
    if file.name.endswith((".jsonl", ".jsonl.gz")):
        data = b"".join(line + b"\n" for line in lines)
    else:
        data = b"[\n" + b",\n".join(lines) + b"\n]\n"
    with replacing(file) as partial:
        # Without a time stamp the same rows give the same bytes.
        partial.write_bytes(gzip.compress(data, mtime=0) if file.suffix == ".gz" else data)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the name to write a file under, which takes its own name once the context ends without an error.

    So the file appears whole or not at all. Its folder is made where it is missing; what a link points to is replaced,
    not the link; a device or a pipe is yielded as it is.

    Raises:
        OSError: named by the file's own name.
    """
    named = Path(path).expanduser()
    if named.exists() and not (named.is_file() or named.is_dir()):
        yield named
        return
    file = Path(os.path.realpath(named))
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, file)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(named)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _from_stream(stream: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a stream: a list where it begins with "[", else lines; unpacked where it is gzipped."""
    lines = gzip.GzipFile(fileobj=stream) if stream.peek(2)[:2] == b"\x1f\x8b" else stream
    with _unpacked(name):
        start = b""
        for line in lines:
            start += line
            if line.strip(_BLANK):
                break
    if start.strip(_BLANK).startswith(b"["):
        with _unpacked(name):
            start += lines.read()
        yield from _list_rows(start, name)
    else:
        yield from _line_rows(itertools.chain(start.splitlines(keepends=True), lines), name)


_BLANK = b" \t\r\n\xef\xbb\xbf"
"""White space, and the byte order mark that Windows puts first."""


def _from_lines(file: Path) -> Iterator[tuple[str, Any]]:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        yield from _line_rows(lines, str(file))


def _from_list(file: Path) -> Iterator[tuple[str, Any]]:
    data = file.read_bytes()
    with _unpacked(str(file)):
        data = gzip.decompress(data) if file.suffix == ".gz" else data
    yield from _list_rows(data, str(file))


@contextmanager
def _unpacked(name: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name} cannot be unpacked ({error}); fetch or gzip it again.") from error


def _line_rows(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, Any]]:
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"line {number}", parse_json(line.rstrip(), f"{name}, line {number}")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name} cannot be unpacked after line {number} ({error}); fetch or gzip it again.") from error


def _list_rows(data: bytes, name: str) -> Iterator[tuple[str, Any]]:
    if not data.strip():
        return
    rows = parse_json(data, name)
    if not isinstance(rows, list):
        raise DataError(f"{name} holds {excerpt(rows)}; a .json file must be one list of rows, [{{…}}, …].")
    for number, row in enumerate(rows):
        yield f"row {number}", row


def _to_dataset(rows: list[dict[str, Any]], places: list[str], file: str) -> Dataset:
    from datasets import Dataset

    # A dictionary as an ordered set: the columns of all rows, not of the first one alone.
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    try:
        return Dataset.from_dict(columns)
    except (TypeError, ValueError, OverflowError) as error:
        for name, values in columns.items():
            _check_column(name, values, places, file)
        raise DataError(f"{file} cannot be made a dataset ({error}); give every column one type.") from error


def _check_column(name: str, values: list[Any], places: list[str], file: str) -> None:
    from datasets import Dataset

    first = next((i for i, value in enumerate(values) if value is not None), 0)
    for place, value in zip(places, values, strict=True):
        try:
            Dataset.from_dict({name: [values[first], value]})
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{file}, {place}, column {name!r} is {excerpt(value)}, which does not go with "
                f"{excerpt(values[first])} in {places[first]} ({error}); give a column values of one type."
            ) from error
