"""Rows of tables: CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.files.source import MOST_BYTES

__all__ = ["csv_records", "parquet_records"]

_BATCH = 64
_PARQUET_BATCH = 16


def csv_records(stream: IO[bytes], file: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield place and content of the rows of a table with a line of names at its top.

    Cells stand between commas, tabs or semicolons, whichever makes most of the names. A cell is text, whatever it looks
    like.

    Raises:
        DataError: two columns of one name, a row with another number of cells than there are names, quotes that do not
            match, or a cell that is too large.
    """
    lines = _lines(stream, file)
    first = next((line for line in lines if line.strip()), "")
    # The first line alone may end within quotes, so it is not read strictly.
    delimiter = max(",\t;", key=lambda mark: sum(len(cells) for _, cells in _read([first], mark, file, strict=False)))
    rows = _read(itertools.chain([first], lines), delimiter, file, strict=True)
    names = next(([name.strip() for name in cells] for _, cells in rows), [])
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise DataError(f"{file} has two columns {excerpt(twice[0])}; give every column a name of its own.")
    for number, cells in rows:
        if cells and len(cells) != len(names):
            raise DataError(
                f"{file}, line {number} has {len(cells)} cell(s), and there are {len(names)} columns; put cells with "
                f"{delimiter!r} or line breaks in double quotes."
            )
        if cells:
            yield f"line {number}", dict(zip(names, cells, strict=True))


def _read(lines: Iterable[str], delimiter: str, file: str, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of its last line and the cells of every row."""
    reader = csv.reader(lines, delimiter=delimiter, strict=strict)
    while True:
        batch: list[tuple[int, list[str]]] = []
        wrong: csv.Error | None = None
        # The limit is one for the whole process: ours holds only while some rows are read.
        before = csv.field_size_limit(MOST_BYTES)
        try:
            batch.extend((reader.line_num, cells) for cells in itertools.islice(reader, _BATCH))
        except csv.Error as error:
            wrong = error
        finally:
            csv.field_size_limit(before)
        yield from batch
        if wrong is not None:
            raise DataError(
                f"{file}, line {reader.line_num} is no row of a table ({wrong}); correct its quotes."
            ) from wrong
        if len(batch) < _BATCH:
            return


def _lines(stream: IO[bytes], file: str) -> Iterator[str]:
    number = 0
    while line := stream.readline(MOST_BYTES + 1):
        number += 1
        if len(line) > MOST_BYTES:
            raise DataError(f"{file}, line {number} has more than {MOST_BYTES:,} bytes; a line cannot be so long.")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{file}, line {number} is not UTF-8 ({error.reason} at byte {error.start}); save the table as UTF-8 "
                "(in Excel: CSV UTF-8)."
            ) from error


def parquet_records(
    handle: IO[bytes], file: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield place and content of the rows of a Parquet file.

    Args:
        handle: of the file, which must be one that can be sought in.
        file: what it is called, for messages.
        columns: those that are wanted, of those that there are; all by default.

    Raises:
        DataError: it is no whole Parquet file.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(handle)
        there = table.schema_arrow.names
        wanted = None if columns is None else [name for name in there if name in columns]
        number = 0
        # A text that a page holds once may stand in every row: a few at a time bound what they make together.
        for batch in table.iter_batches(batch_size=_PARQUET_BATCH, columns=wanted):
            for row in batch.to_pylist():
                yield f"row {number}", row
                number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        shown = " ".join(str(error).split())[:200]
        raise DataError(f"{file} cannot be read as Parquet ({shown}); write or fetch it again.") from error
