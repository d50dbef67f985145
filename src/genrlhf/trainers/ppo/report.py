"""What a person is told of a PPO run while it goes on: warnings, and completions."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from genrlhf.errors import excerpt
from genrlhf.trainers.ppo.callbacks import RolloutCallback

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.rollout_record import Rollout

__all__ = ["CompletionPrinter", "RunHealth", "completion_table"]

logger = logging.getLogger(__name__)

NEGATIVE_LOGS = 20
"""Logs in a row with negative explained variance before a warning."""


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
