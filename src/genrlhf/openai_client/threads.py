"""Coroutines for callers that are none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["run_in_thread"]

T = TypeVar("T")


def run_in_thread(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a thread with an event loop of its own, and return what it returns.

    A caller in a notebook is inside a running loop. An interrupt of the caller cancels it.
    """
    outcome: list[Any] = []
    loop = asyncio.new_event_loop()
    # An interrupt of `Thread.join` leaves the thread for ended.
    ready, ended = threading.Event(), threading.Event()
    task: list[asyncio.Task[T]] = []

    def work() -> None:
        try:
            asyncio.set_event_loop(loop)
            task.append(loop.create_task(make()))
            ready.set()
            outcome.append(loop.run_until_complete(task[0]))
        except BaseException as error:
            outcome.append(error)
        finally:
            ready.set()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            ended.set()

    threading.Thread(target=work, daemon=True).start()
    try:
        ended.wait()
    except BaseException:
        ready.wait()
        with suppress(RuntimeError):
            # Unless it has just ended.
            loop.call_soon_threadsafe(task[0].cancel)
        ended.wait()
        raise
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    found: T = outcome[0]
    return found
