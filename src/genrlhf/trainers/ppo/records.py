"""What PPO hands from sampling to scoring and to the updates; shapes as in `genrlhf.types.tokens`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from genrlhf.rewards.signatures import with_samples
from genrlhf.types import TokenBatch

__all__ = [
    "MicroBatch",
    "RolloutTensors",
    "ScoredBatch",
    "groups_of",
    "in_groups",
    "token_lists",
    "unpadded",
]

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class ScoredBatch(TokenBatch):
    """Completions, and what policy, reference and reward say of them.

    Attributes:
        texts: B completions.
        ended: (B,) bool, as in `Generation`.
        scores: (B,) float32, of the reward.
        logprobs: (B, T) float32, of the sampled tokens under the policy that sampled them.
        entropy: (B, T) float32, of the distribution that these are taken under.
        values: (B, T) float32, value predictions when sampled; None without a critic.
        ref_logprobs: (B, T) float32, under the reference.
        kl: (B, T) float32, the estimate of the KL, 0 behind the end.
        log_ratio: (B, T) float32, log π − log π_ref, 0 behind the end.
        prompt_states: (B / n, P, d), what the trunk makes of every prompt, once for its n completions; None without a
            trunk, and so is the next.
        completion_states: (B, T, d), what it makes of the completions.
        allowed: as in `Generation`.
        prompts: of each completion, as in the dataset.
        columns: B values of what else stands in the rows.
        shaped_scores: (B,) float32, what is maximised but for the KL; None before it is known, and so is the next.
        rewards: (B,) float32, with the KL penalty taken off where that is in the reward.
    """

    texts: list[str]
    ended: torch.Tensor
    scores: torch.Tensor
    logprobs: torch.Tensor
    entropy: torch.Tensor
    values: torch.Tensor | None
    ref_logprobs: torch.Tensor
    kl: torch.Tensor
    log_ratio: torch.Tensor
    prompt_states: torch.Tensor | None = None
    completion_states: torch.Tensor | None = None
    allowed: torch.Tensor | None = None
    prompts: Sequence[Any] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    shaped_scores: torch.Tensor | None = None
    rewards: torch.Tensor | None = None

    def sampled_columns(self) -> dict[str, Sequence[Any]]:
        """Return what a reward gets beside prompts and completions: columns, token ids, and what ended."""
        return with_samples(self.columns, token_lists(self), self.ended.tolist())

    def grouped_columns(self, n: int) -> dict[str, Sequence[Any]]:
        """Return what a reward of groups gets: a value a prompt, and of token ids and `ended` its n values."""
        sampled = {key: in_groups(values, n) for key, values in self.sampled_columns().items()}
        return {**sampled, **{key: values[::n] for key, values in self.columns.items()}}


@dataclass(frozen=True)
class _Targets(TokenBatch):
    """Completions, and what an update of policy and values measures them by.

    Attributes:
        logprobs: (B, T) float32, of the sampled tokens under the policy that sampled them.
        advantages: (B, T) float32.
        ref_logprobs: (B, T) float32, of the sampled tokens under the reference.
        values: (B, T) float32, value predictions when sampled; None without a critic, and so is the next.
        returns: (B, T) float32, the value targets.
        allowed: as in `Generation`.
    """

    logprobs: torch.Tensor
    advantages: torch.Tensor
    ref_logprobs: torch.Tensor
    values: torch.Tensor | None = None
    returns: torch.Tensor | None = None
    allowed: torch.Tensor | None = None


@dataclass(frozen=True)
class RolloutTensors(_Targets):
    """Scored completions of one batch of prompts, ready for PPO updates.

    Attributes:
        prompt_states: as in `ScoredBatch`, and so is the next.
        completion_states: (B, T, d).
    """

    prompt_states: torch.Tensor | None = None
    completion_states: torch.Tensor | None = None


@dataclass(frozen=True)
class MicroBatch(_Targets):
    """The rows of a rollout that one forward and backward pass takes.

    Attributes:
        states: (B, P + T, d), what the trunk makes of prompts and completions; None without a trunk.
        groups: see `groups_of`.
    """

    states: torch.Tensor | None = None
    groups: tuple[int, ...] | None = None


def token_lists(batch: TokenBatch) -> list[list[int]]:
    """Return the token ids of every completion, without padding."""
    return unpadded(batch.completion_ids, batch.completion_mask)


def unpadded(ids: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    """Return the token ids of every row, without padding."""
    return [row[:length] for row, length in zip(ids.tolist(), mask.sum(-1).tolist(), strict=True)]


def groups_of(rows: Iterable[int], samples: int) -> tuple[int, ...] | None:
    """Return the number of the prompt of some completions of a rollout, None where none shares one with another.

    Args:
        rows: places in the rollout.
        samples: completions of a prompt, which lie side by side there.
    """
    return None if samples == 1 else tuple(row // samples for row in rows)


def in_groups(values: Sequence[ItemT], n: int) -> list[Sequence[ItemT]]:
    """Return a list for each prompt of the values of its n completions, which lie side by side."""
    return [values[start : start + n] for start in range(0, len(values), n)]
