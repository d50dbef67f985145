"""The event loop that asynchronous rewards run in."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

__all__ = ["run_soon", "runs_here"]


def run_soon(coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Have the event loop run a coroutine, and return what will hold its result."""
    return asyncio.run_coroutine_threadsafe(coroutine, _event_loop(os.getpid()))


def runs_here() -> bool:
    """Say whether the caller runs in that loop, and so must not wait for it."""
    with suppress(RuntimeError):
        return asyncio.get_running_loop() is _event_loop(os.getpid())
    return False


@functools.cache
def _event_loop(process: int) -> asyncio.AbstractEventLoop:
    """Return the event loop that all asynchronous rewards of a process run in; a fork needs one of its own.

    One for all calls, since HTTP clients and semaphores belong to the loop they were first used in; in a thread, since
    the caller's may have a running loop already, as in a notebook.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=_run_forever, args=[loop], name="genrlhf-rewards", daemon=True).start()
    return loop


def _run_forever(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        # A coroutine's KeyboardInterrupt or SystemExit ends the loop, before the caller is told of it.
        with suppress(BaseException):
            loop.run_forever()
