"""What is printed: tables, JSON, words on stderr, and streams that no text from elsewhere can harm."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from genrlhf.errors import printable
from genrlhf.tables import aligned

__all__ = ["guarded_streams", "print_json", "print_table", "say"]


def say(message: object) -> None:
    """Tell the user something in one line on stderr."""
    print(f"genrlhf: {printable(message)}", file=sys.stderr)


def print_json(form: Any) -> None:
    """Print one object in ASCII, which every terminal and encoding shows as it is; its records have a `to_dict`."""
    # DEL is the one control that JSON leaves as it is.
    print(json.dumps(form, allow_nan=False, default=lambda record: record.to_dict()).replace("\x7f", "\\u007f"))


def print_table(table: Sequence[Sequence[str]]) -> None:
    """Print lines of cells, a column as wide as its widest cell."""
    print("\n".join(aligned(table)))


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Have stdout and stderr take whatever is printed, for as long as the context lasts.

    A reader that has left is no error: what is printed from then on goes nowhere, and the work goes on. Characters that
    the encoding lacks are replaced. Controls that no progress bar needs are escaped.

    Raises:
        OSError: stdout cannot be written for another reason, such as a full disk.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    # In this order, so that no file that is opened later gets the number of a standard stream that is closed.
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stdout = guarded = _Guarded(stdout, "standard output")
    sys.stderr = _Guarded(stderr, None)
    try:
        yield
        guarded.flush()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = before


# What a terminal acts on, but for the end of a line and what progress bars move the cursor with.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_CURSOR = re.compile("(\n|\r|\x1b\\[A)*")
_PLAIN = str.maketrans(
    {"…": "...", "×": "x", "−": "-", "–": "-", "’": "'", "±": "+/-", "≥": ">=", "≤": "<=", "“": '"', "”": '"'}
)


class _Guarded:
    """A text stream that takes whatever is printed.

    Args:
        stream: what it writes to.
        name: of the stream in errors; without one, nothing that goes wrong is told.
    """

    def __init__(self, stream: TextIO, name: str | None) -> None:
        self._stream = stream
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, with controls escaped and missing characters replaced."""
        if not _CURSOR.fullmatch(text):
            text = _CONTROLS.sub(lambda found: repr(found.group())[1:-1], text)
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                plain = text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
                self._stream.write(plain)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write all of them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Let what is printed go nowhere from now on, what the stream still holds included."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        left = isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)
        if self._name is not None and not left:
            raise OSError(error.errno, error.strerror, self._name) from error
