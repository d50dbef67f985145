"""One stage in processes of its own, as a launcher starts them."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from genrlhf.data.log import said_when_full
from genrlhf.errors import ConfigError, printable
from genrlhf.studies.record import LOG

__all__ = ["Launcher"]

_PROGRESS = re.compile(r"\[ *\d+\.\d s\] (.*)")
_ERROR = "genrlhf: "
_PATIENCE = 15.0


class Launcher:
    """Starts `COMMAND -m genrlhf study … --only STAGE`.

    Args:
        command: such as "accelerate launch --num_processes 2".
        arguments: of `genrlhf study`, `--only` apart.

    Raises:
        ConfigError: where `command` is no command.
    """

    def __init__(self, command: str, arguments: Sequence[str]) -> None:
        try:
            self.command = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"--launcher {command!r} cannot be read as a shell reads it ({error}).") from error
        if not self.command:
            raise ConfigError('--launcher is empty; give one such as "accelerate launch --num_processes 2".')
        self.arguments = list(arguments)

    def __call__(self, stage: str, folder: Path, report: Callable[[str], None]) -> None:
        """Make a stage, and wait for it; what its processes print goes to a file in its folder.

        Raises:
            ConfigError: where the command cannot be started, or ends with another status than 0; with the error that it
                told.
        """
        words = [*self.command, "-m", "genrlhf", "study", *self.arguments, "--only", stage]
        log = folder / LOG
        with said_when_full(log):
            lines = log.open("a", encoding="utf-8", errors="replace")
        with lines:
            try:
                process = subprocess.Popen(
                    words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
                )
            except OSError as error:
                raise ConfigError(
                    f"--launcher: {words[0]} cannot be started ({error.strerror}); give a command such as "
                    '"accelerate launch --num_processes 2".'
                ) from error
            try:
                told = self._listen(process, lines, report)
            except BaseException:
                _end(process)
                raise
        status = process.wait()
        if status:
            reason = f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            raise ConfigError(f"`{shlex.join(self.command)}` {reason}: {told} All that it printed is in {log}.")

    def _listen(self, process: subprocess.Popen[str], lines: object, report: Callable[[str], None]) -> str:
        """Write what a process prints, pass on its progress, and return the error that it told, or its last line."""
        told, last = "", "it printed nothing."
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", file=lines, flush=True)  # type: ignore[call-overload]
            if found := _PROGRESS.match(line):
                report(found.group(1))
            elif line.startswith(_ERROR) and not told:
                told = line.removeprefix(_ERROR).strip()
            last = printable(line.strip()) or last
        return told or last


def _end(process: subprocess.Popen[str]) -> None:
    """Have a process end as Ctrl-C would, and end it where it does not."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
