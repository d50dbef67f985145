"""Who is about to ask what, so that two processes on one store ask each thing once."""

from __future__ import annotations

import os
import platform
import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["CLAIMS_TABLE", "Claims"]

CLAIMS_TABLE = "CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, owner TEXT, until REAL) WITHOUT ROWID"
_SECONDS_OF_A_CLAIM = 60.0


class Claims:
    """Claims of one process in the table that `CLAIMS_TABLE` makes.

    A claim ends when its owner takes it back; when its owner, on this machine, lives no longer; or when it is not
    renewed in a minute, as that of a process that was killed on another machine.
    """

    renew_every = _SECONDS_OF_A_CLAIM / 4
    """Seconds after which claims are to be renewed."""

    def __init__(self) -> None:
        # A fork is another owner, and so is another store in this process.
        self._pid, self._mark = os.getpid(), secrets.token_hex(8)
        self._place = _place()

    @property
    def _owner(self) -> str:
        if self._pid != os.getpid():
            self._pid, self._mark = os.getpid(), secrets.token_hex(8)
        return f"{self._mark} {self._pid} {self._place}"

    def take(self, database: sqlite3.Connection, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys that are ours from now on; the others are somebody else's."""
        now, ours = time.time(), []
        alive: dict[str, bool] = {}
        for key in keys:
            found = database.execute("SELECT owner, until FROM claims WHERE key = ?", (key,)).fetchone()
            if found is not None and found[0] != self._owner:
                owner, until = (str(found[0]), found[1] if isinstance(found[1], float) else 0.0)
                if owner not in alive:
                    alive[owner] = self._lives(owner)
                if alive[owner] and until > now:
                    continue
            row = (key, self._owner, now + _SECONDS_OF_A_CLAIM)
            database.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", row)
            ours.append(key)
        return ours

    def drop(self, database: sqlite3.Connection, keys: Iterable[bytes]) -> None:
        """Take claims of ours back."""
        database.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", [(key, self._owner) for key in keys])

    def renew(self, database: sqlite3.Connection) -> None:
        """Say that this process still works on what it claimed."""
        until = time.time() + _SECONDS_OF_A_CLAIM
        database.execute("UPDATE claims SET until = ? WHERE owner = ?", (until, self._owner))

    def _lives(self, owner: str) -> bool:
        """Say whether an owner may still be at work; of one on another machine, that is not known."""
        _, pid, place = (*owner.split(" ", 2), "", "")[:3]
        if place != self._place or os.name != "posix" or not pid.isdecimal():
            return True
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True


def _place() -> str:
    """Return what tells one machine, and one numbering of processes on it, from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()
