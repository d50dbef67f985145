"""What a person sees of a PPO run while it goes on."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_callback import ProgressCallback

from genrlhf.errors import excerpt
from genrlhf.trainers.ppo.callbacks import RolloutCallback

if TYPE_CHECKING:
    from transformers.trainer_callback import CallbackHandler

    from genrlhf.trainers.ppo.records import Rollout
    from genrlhf.trainers.tally import Tally

__all__ = ["CompletionPrinter", "Phases", "RunHealth", "completion_table"]

logger = logging.getLogger(__name__)

NEGATIVE_LOGS = 20
"""Logs in a row with negative explained variance before a warning."""


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


class RunHealth:
    """Warns, once each, of what goes wrong in PPO without an error.

    Args:
        low_precision: ratios are not exact.
    """

    def __init__(self, *, low_precision: bool) -> None:
        self.tolerance = 0.05 if low_precision else 1e-3
        self._warned: set[str] = set()
        self._negative = 0

    def first_ratio(self, deviation: float) -> None:
        """Look at the largest |ratio − 1| of the first update of a rollout."""
        if deviation > self.tolerance:
            self._warn(
                "ratio",
                f"The policy's first update of a rollout sees ratios up to {deviation:.2g} away from 1, though its "
                "weights are those that sampled: log-probabilities of sampling and training differ, by dropout, "
                "another precision, or a sampler that measures them otherwise.",
            )

    def ended(self, share: float) -> None:
        """Look at the share of completions that ended in EOS or a stop string."""
        if share == 0:
            self._warn(
                "ended",
                "No completion of a rollout ended in EOS or a stop string: raise max_new_tokens, check that the model "
                "was fine-tuned on completions that end in EOS, or give stop strings.",
            )

    def explained_variance(self, value: float) -> None:
        """Look at the share of the returns' variance that the values explain."""
        self._negative = self._negative + 1 if value < 0 else 0
        if self._negative == NEGATIVE_LOGS:
            self._warn(
                "variance",
                f"In {NEGATIVE_LOGS} logs in a row the values explained less of the returns than their mean does: "
                'raise vf_coef or the learning rate, set value_clip_range=None, or start from value_model="reward".',
            )

    def _warn(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            logger.warning(message)


class CompletionPrinter(RolloutCallback):
    """Prints completions of every `log_completions_rollouts`-th rollout to stderr, where progress goes."""

    def on_rollout_end(self, args: Any, state: Any, control: Any, *, rollout: Rollout, **kwargs: Any) -> None:
        """Print, on the main process."""
        if rollout.index % args.log_completions_rollouts == 0 and args.should_log:
            table = completion_table(rollout, args.num_completions_to_print)
            print(f"Rollout {rollout.index + 1}\n{table}", file=sys.stderr, flush=True)


def completion_table(rollout: Rollout, count: int, *, width: int = 60) -> str:
    """Return the first `count` completions of a rollout with their scores, a line each.

    Prompts and completions are quoted, so that no control character of theirs reaches a terminal.
    """
    lines = [f"{'score':>8}  {'kl':>7}  {'prompt, its end':<{width}}  completion"]
    for row in range(min(count, len(rollout.completions))):
        prompt = rollout.prompts[row]
        text = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", ""))
        kl = float(rollout.log_ratio[row].sum())
        end = excerpt(text[-(width - 4) :], width)
        score = float(rollout.scores[row])
        lines.append(f"{score:8.3f}  {kl:7.2f}  {end:<{width}}  {excerpt(rollout.completions[row], 2 * width)}")
    return "\n".join(lines)
