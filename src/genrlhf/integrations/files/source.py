"""The bytes of a file, unpacked and in UTF-8, and what kind of file they make."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from genrlhf.errors import DataError, excerpt

__all__ = ["MOST_BYTES", "Kind", "Source"]

MOST_BYTES = 64 * 2**20
"""The most that one row, line or cell may take. What is longer is no row, and would fill the memory."""

Kind: TypeAlias = Literal["json", "table", "parquet", "zip", "empty"]

_HEAD = 4096
_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; unpack it first",
    b"BZh": "is compressed with bzip2; unpack it first",
    b"\xfd7zXZ": "is compressed with xz; unpack it first",
    b"ARROW1": "is an Arrow file; write it as Parquet",
    b"SQLite format 3": "is an SQLite data base; export the table as CSV",
    b"\x80\x02": "is a pickle, which could run any code when it is read; write JSON lines",
    b"\x80\x03": "is a pickle, which could run any code when it is read; write JSON lines",
    b"\x80\x04": "is a pickle, which could run any code when it is read; write JSON lines",
    b"\x80\x05": "is a pickle, which could run any code when it is read; write JSON lines",
}
_JSON_NAMES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_TABLE_NAMES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


class Source:
    """A file that may be opened several times.

    What cannot be (the standard input, a pipe) is copied to a temporary file first, which goes with this object.

    Args:
        path: of the file; `-` is the standard input.

    Raises:
        DataError: there is no such file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
        file = Path(path).expanduser()
        self._copy: IO[bytes] | None = None
        if os.fspath(path) == "-":
            self._copy = _copied(sys.stdin.buffer)
        elif file.is_dir():
            raise DataError(f"{self.name} is a folder; give the path of a file of outputs.")
        elif not file.exists():
            raise DataError(f"{self.name} does not exist; give the path of a file of outputs.")
        elif not file.is_file():
            with file.open("rb") as pipe:
                self._copy = _copied(pipe)
        self.path = file

    @contextmanager
    def raw(self) -> Iterator[IO[bytes]]:
        """Open the file as it lies on the disk."""
        if self._copy is not None:
            self._copy.seek(0)
            yield self._copy
            return
        try:
            handle = self.path.open("rb")
        except OSError as error:
            raise DataError(f"{self.name} cannot be read ({error.strerror}); give a file that you may read.") from error
        with handle:
            yield handle

    @contextmanager
    def unpacked(self) -> Iterator[IO[bytes]]:
        """Open what the file holds: unpacked where it is gzipped, and in UTF-8 where it is UTF-16."""
        with self.raw() as handle:
            packed = handle.read(2) == _GZIP
            handle.seek(0)
            stream: Any = gzip.GzipFile(fileobj=handle) if packed else handle
            try:
                head = stream.read(_HEAD)
                stream.seek(0)
                yield _in_utf8(stream, head)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError(f"{self.name} cannot be unpacked ({error}); fetch or gzip it again.") from error

    def kind(self) -> Kind:
        """Say what the file holds, by its first bytes; its name decides only whether text is JSON or a table.

        Raises:
            DataError: it is nothing that can be read.
        """
        with self.raw() as handle:
            head = handle.read(_HEAD)
        if head.startswith(b"PAR1"):
            return "parquet"
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return "zip"
        with self.unpacked() as stream:
            text = _first_text(stream)
        for start, what in _OTHERS.items():
            if text.startswith(start):
                raise DataError(f"{self.name} {what}.")
        if text.startswith((b"PAR1", b"PK\x03\x04")):
            raise DataError(f"{self.name} is gzipped, and its kind has a compression of its own; unpack it first.")
        if b"\0" in text:
            raise DataError(f"{self.name} is no text; give JSON, JSON lines, CSV, Parquet or one of Inspect's logs.")
        if not text:
            return "empty"
        name = self.name.lower()
        if name.endswith(_TABLE_NAMES):
            return "table"
        return "json" if text[:1] in b"[{" or name.endswith(_JSON_NAMES) else "table"


def _copied(stream: IO[bytes]) -> IO[bytes]:
    copy = tempfile.TemporaryFile()  # noqa: SIM115
    shutil.copyfileobj(stream, copy)
    return copy


def _first_text(stream: IO[bytes]) -> bytes:
    """Return the start of what a stream holds, from the first character that is not white space on."""
    head = stream.read(_HEAD).removeprefix(codecs.BOM_UTF8).lstrip()
    while not head:
        more = stream.read(_HEAD)
        if not more:
            return b""
        head = more.lstrip()
    return head


def _in_utf8(stream: IO[bytes], head: bytes) -> IO[bytes]:
    encoding = _utf16(head)
    return stream if encoding is None else io.BufferedReader(_Transcoder(stream, encoding))


def _utf16(head: bytes) -> str | None:
    """Return the name of the UTF-16 that a text is in: by its mark, or by every other byte of its start being 0."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = head[:64]
    if len(start) >= 4 and b"\0" in start:
        low, high = start[0::2], start[1::2]
        if high.count(0) > 0.9 * len(high) and not low.count(0):
            return "utf-16-le"
        if low.count(0) > 0.9 * len(low) and not high.count(0):
            return "utf-16-be"
    return None


class _Transcoder(io.RawIOBase):
    """Reads UTF-16 as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            data = self._stream.read(65536)
            self._ended = not data
            try:
                self._ready = self._decoder.decode(data, final=self._ended).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                shown = excerpt(error.object[error.start : error.start + 8])
                raise DataError(f"The file is not UTF-16 ({error.reason} at {shown}); save it as UTF-8.") from error
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
