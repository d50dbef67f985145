"""A file that one process at a time works on."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genrlhf.errors import RunFolderError

__all__ = ["locked"]


@contextmanager
def locked(
    file: str | os.PathLike[str], *, remedy: str = "wait for it, or choose another output file"
) -> Iterator[None]:
    """Keep `file` from other processes that ask for it in this way, for as long as the context lasts.

    The lock is the system's, on `.FILE.lock` beside the file, and ends with the process however that ends. Where the
    file system has no locks, the lock is that the file is there, with the number of the process that made it.

    Args:
        file: the file, or a folder.
        remedy: what can be done where another process has it, for the message.

    Raises:
        RunFolderError: another process has it.
    """
    path = Path(file).expanduser()
    lock = path.with_name(f".{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    handle = _acquire(lock, path, remedy)
    _held.add(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()} {socket.gethostname()}".encode())
        yield
    finally:
        _held.discard(handle)
        # Removed while it is still held, so that it is nobody else's; Windows removes no open file.
        if sys.platform != "win32":
            lock.unlink(missing_ok=True)
        os.close(handle)
        if sys.platform == "win32":
            with suppress(OSError):
                lock.unlink()


_held: set[int] = set()


def _forget() -> None:
    """Leave the locks to the parent: a child that outlives it would hold them on."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _acquire(lock: Path, path: Path, remedy: str) -> int:
    """Return the open file that holds the lock."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK):
                raise _in_use(lock, path, remedy) from None
            return _acquire_without_locks(lock, path, remedy)
        with suppress(OSError):
            # Whoever had it may have removed it between our opening and our locking it.
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _acquire_without_locks(lock: Path, path: Path, remedy: str) -> int:
    """Return the lock's file, made by this process, where the file system knows no locks."""
    with suppress(OSError):
        pid, _, host = lock.read_text(encoding="utf-8").partition(" ")
        # What `_acquire` has just made is empty.
        if not pid or (host == socket.gethostname() and not _alive(int(pid))):
            lock.unlink()
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        raise _in_use(lock, path, remedy) from None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _in_use(lock: Path, path: Path, remedy: str) -> RunFolderError:
    owner = ""
    with suppress(OSError):
        owner = lock.read_text(encoding="utf-8", errors="replace")
    pid, _, host = owner.partition(" ")
    by = f"process {pid} on {host}" if host else "another process"
    return RunFolderError(f"{path} is in use by {by}; {remedy}.")
