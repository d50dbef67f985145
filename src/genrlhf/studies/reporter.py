"""Lines with the seconds since the start, on stderr."""

from __future__ import annotations

import sys
import time

from genrlhf.errors import printable

__all__ = ["Reporter"]


class Reporter:
    """Prints lines with the seconds since it was made.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the reporter was made."""
        return time.monotonic() - self.start

    def __call__(self, message: str) -> None:
        """Print one line."""
        if not self.quiet:
            print(f"[{self.seconds:6.1f} s] {printable(message)}", file=sys.stderr, flush=True)
