"""Samples in the archives that Inspect writes: a zip file with a JSON file for every sample and epoch."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.files.json_stream import JsonReader

__all__ = ["MOST_SAMPLE_BYTES", "archive_records"]

MOST_SAMPLE_BYTES = 2**30
"""The most that a sample of an archive may unpack to, with all events, which are passed over."""

_SAMPLE = re.compile(r"samples/(?P<id>.+)_epoch_(?P<epoch>\d+)\.json")
_ZSTD = 93
_WANTED = ("id", "epoch", "input", "target", "output", "error")


def archive_records(handle: IO[bytes], file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and what matters of every sample of an archive, by epoch and id.

    Args:
        handle: of the archive.
        file: what it is called, for messages.

    Raises:
        DataError: it is no archive of Inspect's, or damaged, or something in it is too large.
    """
    try:
        archive = zipfile.ZipFile(handle)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{file} cannot be unpacked ({error}); fetch or write it again.") from error
    with archive:
        found = [(match, info) for info in archive.infolist() if (match := _SAMPLE.fullmatch(info.filename))]
        if not found:
            inspects = any(name in ("header.json", "_journal/start.json") for name in archive.namelist())
            what = "an Inspect log without samples" if inspects else "an archive, but none that Inspect wrote"
            raise DataError(f"{file} is {what}; give a log with samples, or unpack the file with the outputs.")
        found.sort(key=lambda one: (int(one[0]["epoch"]), _natural(one[0]["id"])))
        for _, info in found:
            where = f"{file}, {info.filename}"
            with _opened(archive, info, handle, where) as stream:
                reader = JsonReader(stream, where, most=MOST_SAMPLE_BYTES)
                yield info.filename, _sample(reader, where)


def _sample(reader: JsonReader, where: str) -> dict[str, Any]:
    if reader.peek() != "{":
        raise DataError(f"{where} is no JSON object; fetch or write the log again.")
    sample: dict[str, Any] = {}
    for name in reader.members():
        if name in _WANTED:
            sample[name] = reader.value()
        else:
            reader.skip()
    return sample


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts 2 before 10."""
    parts = re.findall(r"\d{1,18}|\D+|\d+", text)
    return tuple((0, int(part), "") if part.isdecimal() and len(part) <= 18 else (1, 0, part) for part in parts)


@contextmanager
def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo, handle: IO[bytes], where: str) -> Iterator[IO[bytes]]:
    """Open a member, also one that is compressed with zstd, which `zipfile` reads from Python 3.14 on."""
    if info.flag_bits & 1:
        raise DataError(f"{where} is encrypted; write the log without a password.")
    try:
        if info.compress_type == _ZSTD:
            yield _zstd(handle, info)
        else:
            with archive.open(info) as stream:
                yield stream
    except (zipfile.BadZipFile, EOFError, OSError, zlib.error, NotImplementedError, struct.error) as error:
        raise DataError(f"{where} cannot be unpacked ({error}); fetch or write the log again.") from error


def _zstd(handle: IO[bytes], info: zipfile.ZipInfo) -> Any:
    import pyarrow

    handle.seek(info.header_offset)
    # The header before a member: signature at 0, lengths of the name and of an extra field at 26 and 28.
    header = handle.read(30)
    name, extra = struct.unpack("<HH", header[26:30])
    if not header.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile(f"no member at {excerpt(info.header_offset)}")
    start = info.header_offset + 30 + name + extra
    return pyarrow.CompressedInputStream(pyarrow.PythonFile(_Window(handle, start, info.compress_size), "r"), "zstd")


class _Window:
    """A part of a file as a file."""

    closed = False

    def __init__(self, handle: IO[bytes], start: int, size: int) -> None:
        self._handle, self._at, self._end = handle, start, start + size

    def read(self, size: int = -1) -> bytes:
        size = self._end - self._at if size < 0 else min(size, self._end - self._at)
        self._handle.seek(self._at)
        data = self._handle.read(size)
        self._at += len(data)
        return data

    def close(self) -> None:
        self.closed = True
