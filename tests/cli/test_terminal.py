"""Streams that take whatever is printed, and tables of it."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from genrlhf.cli.terminal import aligned, guarded_streams, print_json, say
from genrlhf.errors import printable

CONTROLS = "".join(
    map(chr, (*range(32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)


def test_printable_escapes_what_acts_and_keeps_what_shows() -> None:
    text = printable(f"a{CONTROLS}b")
    assert text.isascii() and text.isprintable() and text.startswith("a\\x00") and text.endswith("\\u2069b")
    shown = "é 日本語 ไทย العربية हिन्दी נ 👩‍💻 می‌خواهم … − σ"
    assert printable(shown) == shown
    assert printable("\ud83d \x1b]8;;x\x07") == "\\ud83d \\x1b]8;;x\\x07"


def test_streams_escape_controls_but_let_progress_bars_move(capsys: Any) -> None:
    with guarded_streams():
        print(f"m{CONTROLS}m")
        print("bar", end="\r", file=sys.stderr)
        print("\n\x1b[A", end="", file=sys.stderr)
        print("text \x1b[A", file=sys.stderr)
    printed = capsys.readouterr()
    assert {sign for sign in printed.out if sign in CONTROLS} == {"\t", "\n", "\r"}
    assert printed.err == "bar\r\n\x1b[Atext \\x1b[A\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "shift-jis"])
def test_missing_characters_are_replaced(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with guarded_streams():
        print("1.5 [1, 2] 模型 é … − \ud800")
    assert raw.getvalue().decode(encoding).startswith("1.5 [1, 2] ")
    if encoding == "ascii":
        assert raw.getvalue() == b"1.5 [1, 2] \\u6a21\\u578b \\xe9 ... - \\ud800\n"


def test_a_reader_that_left_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", os.fdopen(write, "w"))
    with guarded_streams():
        print("x" * 100_000)
        print("more", flush=True)


def test_streams_that_are_closed_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with guarded_streams():
        print("out")
        say("err")
        assert sys.stdin.read() == ""
    assert sys.stdout is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named_as_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left on device: 'standard output'"), guarded_streams():
        print("figures")


def test_columns_are_as_wide_as_a_terminal_shows_them() -> None:
    assert aligned([["模型", "1"], ["abcd", "2"], ["e\u0301", "3"], ["\x1b", "4"]]) == [
        "模型  1",
        "abcd  2",
        "e\u0301     3",
        "\\x1b  4",
    ]


def test_json_is_ascii_without_controls(capsys: Any) -> None:
    print_json({"name": f"é{CONTROLS}"})
    out = capsys.readouterr().out
    assert out.isascii() and out[:-1].isprintable() and json.loads(out) == {"name": f"é{CONTROLS}"}
