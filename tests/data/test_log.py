"""Records that are appended survive being cut off, and settings are refused where they differ."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genrlhf.data.log import append_records, claim_file, recover_records, replace_records
from genrlhf.errors import CheckpointError, RunFolderError

ODD = "a\u2028b\x85c\x0bd\r\n\ud83d"
"""Ends of lines that JSON does not know, and half of a surrogate pair."""


def test_what_is_appended_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "log.jsonl"
    assert recover_records(file) == []
    append_records(file, [{"text": "für"}, {"text": ODD}])
    append_records(file, [{"n": 1}])
    assert recover_records(file) == [{"text": "für"}, {"text": ODD}, {"n": 1}]
    assert file.read_bytes().count(b"\n") == 3


def test_cut_off_anywhere_the_whole_lines_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "log.jsonl"
    append_records(file, [{"text": "für"}, {"n": 1}])
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        caplog.clear()
        found = recover_records(file)
        lines = whole[:length].count(b"\n")
        assert found == [{"text": "für"}, {"n": 1}][:lines]
        rest = length - len(b"".join(whole.splitlines(keepends=True)[:lines]))
        messages = [f"{file}: the last line was cut off after {rest} bytes; it is removed, and its work done again."]
        assert caplog.messages == messages * (rest > 0)
        append_records(file, [{"n": 2}])
        assert recover_records(file) == [*found, {"n": 2}]


def test_replacing(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    append_records(file, [{"n": 1}])
    (tmp_path / "log.jsonl.tmp").write_text("left by a killed job")
    replace_records(file, [{"n": 2}])
    assert recover_records(file) == [{"n": 2}]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("line", [b"{", b"[1]", b"5", b"\xff", b"\0\0"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"n": 1}\n' + line + b"\n")
    with pytest.raises(RunFolderError, match=r"log.jsonl, line 2 is .*, which is no JSON object; remove the line"):
        recover_records(file)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    file, words = tmp_path / "log.jsonl", {"place": tmp_path, "act": "sample", "remedy": ""}
    append_records(file, [{"n": 1}])
    claim_file(tmp_path / "s.json", {"n": 1}, **words)  # type: ignore[arg-type]
    message = r"(log.jsonl|log.jsonl.tmp|s.json) could not be written \(File too large\)"
    with room_for(30):
        for write in (
            lambda: append_records(file, [{"text": "more than there is room for"}]),
            lambda: replace_records(file, [{"text": "more than there is room for"}]),
            lambda: claim_file(tmp_path / "s.json", {"n": 1, "m": "x" * 50}, **words),  # type: ignore[arg-type]
        ):
            with pytest.raises(CheckpointError, match=message):
                write()
        append_records(file, [{"n": 2}])
    assert file.read_bytes() == b'{"n": 1}\n{"n": 2}\n'
    assert json.loads((tmp_path / "s.json").read_text()) == {"n": 1}
    with pytest.raises(CheckpointError, match=r"below.jsonl could not be written \((Not a directory|File exists)\)"):
        append_records(file / "below.jsonl", [{"n": 1}])


def test_settings_are_claimed_once(tmp_path: Path) -> None:
    file, words = tmp_path / "settings.json", {"place": tmp_path / "out", "act": "sample", "remedy": "Choose another."}
    assert not claim_file(file, {"n": 1, "stop": ("a",)}, **words)  # type: ignore[arg-type]
    assert not claim_file(file, {"n": 1, "stop": ("a",)}, **words)  # type: ignore[arg-type]
    with pytest.raises(RunFolderError, match=r"Cannot sample in .*out: .*\(n is 1 there and 2 here\). Choose another."):
        claim_file(file, {"n": 2, "stop": ("a",)}, **words)  # type: ignore[arg-type]
    assert claim_file(file, {"n": 2, "stop": ("a",)}, **words, overwrite=True)  # type: ignore[arg-type]
    assert not claim_file(file, {"n": 2, "stop": ("a",)}, **words)  # type: ignore[arg-type]
