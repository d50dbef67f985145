"""One process at a time works on a file, however the last one ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genrlhf.data import lock
from genrlhf.data.lock import locked
from genrlhf.errors import RunFolderError

HOLDER = """
import os, sys, time
from genrlhf.data.lock import locked
with locked(sys.argv[1]):
    # A child that outlives its parent, as the workers of an engine may.
    if os.fork() == 0:
        os.closerange(0, 3)
        time.sleep(30)
        os._exit(0)
    print("held", flush=True)
    time.sleep(30)
"""


def test_a_second_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "new" / "out.jsonl"
    with locked(file):
        with (
            pytest.raises(RunFolderError, match=rf"out.jsonl is in use by process {os.getpid()} on .*; wait for it"),
            locked(file),
        ):
            pass
        with locked(tmp_path / "other.jsonl"):
            pass
    assert list(file.parent.iterdir()) == []
    with locked(file):
        pass


def test_a_kill_leaves_no_lock_behind(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(RunFolderError, match=f"in use by process {process.pid}"), locked(file):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(file):
        pass
    assert list(tmp_path.iterdir()) == []


def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(handle: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "_lock", none)
    file = tmp_path / "out.jsonl"
    with locked(file), pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} on"), locked(file):
        pass
    left = tmp_path / ".out.jsonl.lock"
    gone = subprocess.Popen(["true"])
    gone.wait()
    left.write_text(f"{gone.pid} {lock.socket.gethostname()}")
    with locked(file):
        pass
    left.write_text(f"{gone.pid} another.host")
    with pytest.raises(RunFolderError, match=f"in use by process {gone.pid} on another.host"), locked(file):
        pass


def test_many_at_once_take_turns(tmp_path: Path) -> None:
    """However they race for making and removing the file, no two are inside."""
    code = """
import os, sys, time
from genrlhf.data.lock import locked
from genrlhf.errors import RunFolderError
file, inside, n = sys.argv[1], sys.argv[2], 0
end = time.monotonic() + 1
while time.monotonic() < end:
    try:
        with locked(file):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            os.unlink(inside)
            n += 1
    except RunFolderError:
        pass
print(n)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "f"), str(tmp_path / "inside")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    counts = [int(process.communicate()[0] or -1) for process in processes]
    assert all(process.returncode == 0 for process in processes) and sum(counts) > 0
    assert list(tmp_path.iterdir()) == []
