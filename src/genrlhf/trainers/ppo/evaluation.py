"""Figures of a policy on prompts that it is not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from genrlhf.sampling.choose import sample_seeds
from genrlhf.trainers.ppo.figures import record_objective
from genrlhf.trainers.tally import Tally

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.rollout import RolloutCollector

__all__ = ["objective_figures"]


def objective_figures(
    collector: RolloutCollector, batches: Iterable[list[dict[str, Any]]], *, total: int, process: int, processes: int
) -> dict[str, float]:
    """Return the `objective/…` means over `samples_per_prompt` completions of every prompt.

    Args:
        collector: of the run.
        batches: rows of this process, every `processes`-th batch of all.
        total: rows on all processes.
        process: which one this is.
        processes: how many there are.
    """
    tally, args = Tally(), collector.args
    n, size = args.samples_per_prompt, args.per_device_eval_batch_size
    collector = replace(collector, phase=nullcontext)
    collector.model.eval()
    for number, rows in enumerate(batches):
        first = (number * processes + process) * size
        scored = collector.sample_and_score(rows, sample_seeds(args.seed + 1, range(first, first + len(rows)), n))
        # Several processes get batches of one size, the last ones filled up with rows that were there before.
        own = max(0, min(len(rows), total - first)) * n
        record_objective(tally, scored, own)
        if n > 1:
            collector.shaping.scores(scored, tally, training=False, count=own)
    return tally.figures(collector.reduce)
