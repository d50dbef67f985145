"""The processes of a launcher, which go through the stages of a study in step.

They wait for each other by files and not by a barrier: a collective operation ends with an error after some minutes,
and a stage that one process makes alone may take hours.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError, RunFolderError
from genrlhf.launchers import number_of_this_process, started_processes

__all__ = ["Alone", "Team", "join", "team_of"]

_LEAVING = 60.0


class Alone:
    """One process."""

    is_main = True

    def call(self, stage: str) -> None:
        """Have the others run a stage, too."""

    def gather(self) -> None:
        """Wait until they have run it."""

    def dismiss(self, status: int) -> None:
        """Have the others end."""


class Team(Alone):
    """One of several processes.

    The main one decides what is made next and tells the others by a file; each of them says by a file that it is ready.

    Args:
        folder: where the files lie; of this start alone, and the same for all.
        rank: of this process.
        size: how many there are.
    """

    def __init__(self, folder: Path, rank: int, size: int) -> None:
        self.folder, self.rank, self.size = folder, rank, size
        self.is_main = rank == 0
        self.turn = 0
        self._parent = os.getppid()
        folder.mkdir(parents=True, exist_ok=True)

    def call(self, stage: str) -> None:
        """Have the others run a stage, too."""
        self._tell({"stage": stage})

    def gather(self) -> None:
        """Wait until the others have run it."""
        for rank in range(1, self.size):
            self._wait_for(self._ready(rank))

    def dismiss(self, status: int) -> None:
        """Have the others end, with the status."""
        self._tell({"status": status})
        end = time.monotonic() + _LEAVING
        for rank in range(1, self.size):
            while not self._ready(rank).exists() and time.monotonic() < end:
                time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)

    def follow(self, run: Callable[[str], None]) -> int:
        """Run what the main process calls for until it dismisses this one; return the status."""
        while True:
            self.turn += 1
            file = self._turn()
            self._wait_for(file)
            told = json.loads(file.read_bytes())
            if "stage" in told:
                run(told["stage"])
            self._ready(self.rank).touch()
            if "status" in told:
                return int(told["status"])

    def _tell(self, what: dict[str, Any]) -> None:
        self.turn += 1
        temporary = self.folder / ".next"
        temporary.write_text(json.dumps(what), encoding="utf-8")
        temporary.replace(self._turn())

    def _turn(self) -> Path:
        return self.folder / f"{self.turn}.json"

    def _ready(self, rank: int) -> Path:
        return self.folder / f"{self.turn}.ready-{rank}"

    def _wait_for(self, file: Path) -> None:
        start = time.monotonic()
        while not file.exists():
            # The launcher is gone, and nobody would end this process any more.
            if os.getppid() != self._parent:
                raise RunFolderError(f"Process {self.rank} waits for another one, and their launcher is gone.")
            time.sleep(min(0.5, 0.02 + (time.monotonic() - start) / 10))


def join() -> None:
    """Find the other processes of a launcher, if there are any; before anything else asks how many there are."""
    if started_processes() > 1:
        from genrlhf.models.processes import join_processes

        # In a stage that all run, one may wait for the others for as long as they sample.
        join_processes(timedelta(days=30))


def team_of(folder: Path) -> Alone:
    """Return the processes of the launcher that this one was started by, if any; all of them must call this.

    Raises:
        ConfigError: where the processes do not know of each other.
    """
    size = started_processes()
    if size <= 1:
        return Alone()
    from accelerate import PartialState

    from genrlhf.models.processes import decided_by_main

    join()
    if PartialState().num_processes != size:
        raise ConfigError(
            f"A launcher started {size} processes, and each trains for itself: without an accelerator, call "
            "genrlhf.studies.team.join() before anything else, as `genrlhf study` does."
        )
    start = decided_by_main(lambda: uuid.uuid4().hex)
    return Team(folder / f".processes-{start}", number_of_this_process(), size)
