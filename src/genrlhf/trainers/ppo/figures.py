"""What is logged of a rollout, as `objective/…` and `value/…` means."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from genrlhf.ops import masked_moments
from genrlhf.trainers.ppo.records import ScoredBatch, in_groups

if TYPE_CHECKING:
    from genrlhf.trainers.tally import Reduce, Tally

__all__ = ["record_groups", "record_objective", "record_values"]


def record_objective(tally: Tally, scored: ScoredBatch, count: int | None = None) -> None:
    """Add what was found of the first `count` completions, by default of all, to the `objective/…` means."""
    mask = scored.completion_mask[:count]
    tally.add("objective/scores", scored.scores[:count])
    tally.add("objective/kl", scored.log_ratio[:count].sum(-1))
    tally.add("objective/entropy", scored.entropy[:count], mask)
    tally.add("objective/completion_length", mask.sum(-1))
    tally.add("objective/ended", scored.ended[:count])


def record_groups(tally: Tally, texts: Sequence[str], rewards: torch.Tensor) -> None:
    """Add how alike the completions of a prompt are to the `objective/…` means.

    Args:
        tally: where figures go.
        texts: of the completions, G · n.
        rewards: (G, n) float, what is maximised.
    """
    tally.add("objective/equal_groups", (rewards == rewards[:, :1]).all(-1).float())
    groups = in_groups(texts, rewards.shape[1])
    counts = [Counter(group).values() for group in groups]
    tally.add("objective/distinct_completions", torch.tensor([float(len(each)) for each in counts]))
    shares = [[count / rewards.shape[1] for count in each] for each in counts]
    entropies = [-sum(share * math.log(share) for share in each) for each in shares]
    tally.add("objective/completion_entropy", torch.tensor(entropies))


def record_values(tally: Tally, scored: ScoredBatch, returns: torch.Tensor | None, reduce: Reduce) -> None:
    """Add the share of the returns' variance that the values explain; nothing without a critic.

    Args:
        tally: where figures go.
        scored: completions with values.
        returns: (B, T) float32.
        reduce: sums a tensor over processes.
    """
    if returns is None or scored.values is None:
        return
    _, residual = masked_moments(returns - scored.values, scored.completion_mask, reduce=reduce)
    _, variance = masked_moments(returns, scored.completion_mask, reduce=reduce)
    tally.add("value/explained_variance", 1 - residual / variance.clamp(min=1e-12))
