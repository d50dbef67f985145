"""What a PPO run is doing, in the progress bar, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_callback import ProgressCallback

if TYPE_CHECKING:
    from transformers.trainer_callback import CallbackHandler

    from genrlhf.trainers.tally import Tally

__all__ = ["Phases"]


class Phases:
    """Says in the progress bar what is being done, and how long each took.

    Args:
        callbacks: of the Trainer, the progress bar among them.
        tally: gets `time/…`, in seconds.
    """

    def __init__(self, callbacks: CallbackHandler, tally: Tally) -> None:
        self.callbacks = callbacks
        self.tally = tally

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Show `name` for as long as the context lasts."""
        self._show(name)
        start = _Instant()
        try:
            yield
        finally:
            end = _Instant()
            self.tally.add_later(f"time/{name}", lambda: end.since(start))
            self._show("training")

    def _show(self, name: str) -> None:
        for callback in self.callbacks.callbacks:
            bar = getattr(callback, "training_bar", None) if isinstance(callback, ProgressCallback) else None
            if bar is not None:
                bar.set_description(name)


class _Instant:
    """A moment: on a GPU the one at which it has done what it was given so far, which the host does not wait for."""

    def __init__(self) -> None:
        self.seconds = time.perf_counter()
        self.event: Any = torch.cuda.Event(enable_timing=True) if torch.cuda.is_initialized() else None
        if self.event is not None:
            self.event.record()

    def since(self, start: _Instant) -> float:
        """Return the seconds from `start` to this moment, once it has come."""
        if self.event is None or start.event is None:
            return self.seconds - start.seconds
        self.event.synchronize()
        return float(start.event.elapsed_time(self.event)) / 1000
