"""JSON as it comes: lines, the elements of a list and the members of an object, each of them bounded."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import IO, Any

from genrlhf.errors import DataError, excerpt
from genrlhf.integrations.files.source import MOST_BYTES
from genrlhf.json_text import parse_json

__all__ = ["JsonReader", "json_records", "read_head"]

_HEAD = 2**20
_BLANK = " \t\r\n"
_BLANK_BYTES = b" \t\r\n" + codecs.BOM_UTF8


def json_records(stream: IO[bytes], head: bytes, file: str) -> Iterator[tuple[str, Any]]:
    """Yield place and content of the records of a JSON file.

    They are its lines, or the elements of the list that it is, or the object that it is; of an object with a list of
    objects under "samples", as Inspect writes it, these.

    Args:
        stream: in UTF-8.
        head: what the stream starts with, see `read_head`; the stream is at its start again.
        file: what the file is called, for messages.

    Raises:
        DataError: something is no JSON, or too large.
    """
    shape = _shape(head)
    if shape == "lines":
        yield from _lines(stream, file)
        return
    reader = JsonReader(stream, file)
    if shape == "list":
        for number, value in enumerate(reader.elements()):
            yield f"row {number}", value
    else:
        yield from _document(reader)
    reader.end()


def read_head(stream: IO[bytes]) -> bytes:
    """Return what `json_records` wants to know of a stream's start."""
    return stream.read(_HEAD)


def _shape(head: bytes) -> str:
    """Say whether a file that starts so is "lines", a "list" or one "object"."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    line, newline, rest = text.partition(b"\n")
    whole, ends_early = _is_whole(line)
    if text[:1] == b"[":
        # A list a line, or the first line of a list over several of them.
        return "lines" if newline and whole and rest.lstrip()[:1] == b"[" else "list"
    if text[:1] != b"{":
        return "lines"
    if whole:
        # One object in one line is a row, but for a log with its samples.
        log = not rest.strip() and b'"eval"' in line and b'"samples"' in line
        return "object" if log else "lines"
    return "object" if newline and ends_early else "lines"


def _is_whole(line: bytes) -> tuple[bool, bool]:
    """Say whether a line is JSON, and if not, whether only its end is missing."""
    text = line.strip().decode("utf-8", "replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return False, error.pos >= len(text) and not error.msg.startswith("Unterminated")
    except (RecursionError, ValueError):
        return False, False
    return True, False


def _lines(stream: IO[bytes], file: str) -> Iterator[tuple[str, Any]]:
    number = 0
    while line := stream.readline(MOST_BYTES + 1):
        number += 1
        if len(line) > MOST_BYTES:
            raise DataError(f"{file}, line {number} has more than {MOST_BYTES:,} bytes; a line must be one row.")
        # The mark of Windows may stand alone in its line.
        if line.strip(_BLANK_BYTES):
            yield f"line {number}", parse_json(line.rstrip(), f"{file}, line {number}")


def _document(reader: JsonReader) -> Iterator[tuple[str, Any]]:
    """Yield an object, or the elements of its list of samples, where it is a log."""
    found: dict[str, Any] = {}
    several = False
    for name in reader.members():
        if name == "samples" and "eval" in found and reader.peek() == "[":
            several = True
            for number, value in enumerate(reader.elements()):
                yield f"sample {number}", value
        else:
            found[name] = reader.value()
    if not several:
        yield "row 0", found


class JsonReader:
    """Reads JSON from a stream piece by piece.

    Args:
        stream: in UTF-8.
        file: what it is called, for messages.
        most: what all pieces together may have, in bytes; no limit by default.
    """

    def __init__(self, stream: IO[bytes], file: str, most: int | None = None) -> None:
        self._stream, self._file = stream, file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("strict").decode
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at, self._ended = "", 0, False
        self._left = most
        self._place = ""

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANK:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def value(self) -> Any:
        """Return the next value as a whole."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._is_cut(error) and self._more():
                    continue
                raise self._wrong(error.msg, error.pos) from error
            except (RecursionError, ValueError) as error:
                raise DataError(f"{self._where()} cannot be read as JSON ({error}); correct or delete it.") from error
            # A number at the end of what is there may go on, after a point or "e+" too.
            if len(self._text) - end > 3 or not self._more():
                self._at = end
                return value

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the list that comes next."""
        outer = self._place
        for number in self._separated("[", "]"):
            self._place = f", row {number}"
            yield self.value()
        self._place = outer

    def members(self) -> Iterator[str]:
        """Yield the names of the object that comes next; whoever takes one reads or skips its value."""
        for _ in self._separated("{", "}"):
            name = self.value()
            if not isinstance(name, str):
                raise self._wrong("Expecting a name in double quotes", self._at)
            self._take(":")
            yield name

    def skip(self) -> None:
        """Pass over the next value, with little of it in memory."""
        next_one = self.peek()
        if next_one == "{":
            for _ in self.members():
                self.skip()
        elif next_one == "[":
            for _ in self._separated("[", "]"):
                self.skip()
        else:
            self.value()

    def end(self) -> None:
        """Raise `DataError` where something follows."""
        if self.peek():
            raise self._wrong("More follows", self._at)

    def _separated(self, opening: str, closing: str) -> Iterator[int]:
        self._take(opening)
        if self.peek() == closing:
            self._take(closing)
            return
        number = 0
        while True:
            yield number
            number += 1
            if self.peek() == closing:
                self._take(closing)
                return
            self._take(",")

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise self._wrong(f"Expecting {character!r}", self._at)
        self._at += 1

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Say whether an error may be there only because the text goes on."""
        # The longest of what may be cut in two are \uXXXX\uXXXX, "-Infinity" and their like; a text may be of any
        # length, and its error is where it begins.
        return error.msg.startswith("Unterminated") or error.pos + 16 >= len(self._text)

    def _more(self) -> bool:
        if self._ended:
            return False
        held = self._text[self._at :]
        if len(held) > MOST_BYTES:
            raise DataError(f"{self._where()} has more than {MOST_BYTES:,} characters; a row cannot be so long.")
        # As much again as there is, so that a long value is not read over and over.
        data = self._stream.read(max(65536, len(held)))
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise DataError(f"{self._where()} is larger than can be read; leave it out.")
        self._ended = not data
        try:
            self._text, self._at = held + self._decode(data, self._ended), 0
        except UnicodeDecodeError as error:
            raise DataError(f"{self._where()} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
        return True

    def _where(self) -> str:
        return f"{self._file}{self._place}"

    def _wrong(self, what: str, at: int) -> DataError:
        if self._ended and at >= len(self._text):
            return DataError(f"{self._where()} is not JSON: it breaks off; fetch or write it again.")
        shown = excerpt(self._text[max(0, at - 20) : at + 40])
        return DataError(f"{self._where()} is not JSON: {what} near {shown}; correct or delete it.")
