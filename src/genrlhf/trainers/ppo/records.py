"""What PPO hands from sampling to scoring and to the updates; shapes as in `genrlhf.types`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch.nn.functional import pad

from genrlhf.rewards.signatures import with_samples
from genrlhf.types import TokenBatch

__all__ = [
    "MicroBatch",
    "Rollout",
    "RolloutTensors",
    "ScoredBatch",
    "in_groups",
    "joined",
    "public_rollout",
    "token_lists",
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
class Rollout:
    """Completions of a rollout as callbacks and rewards that learn see them: a copy, tensors on the CPU.

    B completions, the n of a prompt side by side; T tokens of the longest. Masks are True where a token counts, and
    what stands behind a completion's end is 0.

    Attributes:
        index: of the rollout, from 0.
        samples_per_prompt: n.
        prompts: B prompts as in the dataset, each n times.
        completions: B texts.
        columns: B values of every other column of the dataset, by its name.
        ended: (B,) bool, False for a completion that was cut off.
        completion_ids: (B, T) int64.
        completion_mask: (B, T) bool; counts every sampled token, EOS included.
        scores: (B,) float32, as the reward gave them.
        shaped_scores: (B,) float32, what is maximised but for the KL: scores scaled and clipped, by the rule for those
            cut off and the reward of the group, less the length penalty.
        rewards: (B,) float32, what is maximised: with the KL penalty taken off where that is in the reward.
        logprobs: (B, T) float32, of the sampled tokens under the policy that sampled them.
        ref_logprobs: (B, T) float32, under the reference.
        log_ratio: (B, T) float32, log π − log π_ref, over the tokens that the KL ranges over.
        kl: (B, T) float32, the estimate that is penalised, see `PPOConfig.kl_estimator`.
        advantages: (B, T) float32.
        values: (B, T) float32, of the critic; None without one.
    """

    index: int
    samples_per_prompt: int
    prompts: list[Any]
    completions: list[str]
    columns: dict[str, list[Any]]
    ended: torch.Tensor
    completion_ids: torch.Tensor
    completion_mask: torch.Tensor
    scores: torch.Tensor
    shaped_scores: torch.Tensor
    rewards: torch.Tensor
    logprobs: torch.Tensor
    ref_logprobs: torch.Tensor
    log_ratio: torch.Tensor
    kl: torch.Tensor
    advantages: torch.Tensor
    values: torch.Tensor | None = None

    @property
    def groups(self) -> list[Sequence[str]]:
        """The completions of each prompt."""
        return in_groups(self.completions, self.samples_per_prompt)

    @property
    def token_ids(self) -> list[list[int]]:
        """The tokens of each completion, EOS included, without padding."""
        return _unpadded(self.completion_ids, self.completion_mask)


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
    """

    states: torch.Tensor | None = None


def token_lists(batch: TokenBatch) -> list[list[int]]:
    """Return the token ids of every completion, without padding."""
    return _unpadded(batch.completion_ids, batch.completion_mask)


def _unpadded(ids: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    return [row[:length] for row, length in zip(ids.tolist(), mask.sum(-1).tolist(), strict=True)]


def in_groups(values: Sequence[ItemT], n: int) -> list[Sequence[ItemT]]:
    """Return a list for each prompt of the values of its n completions, which lie side by side."""
    return [values[start : start + n] for start in range(0, len(values), n)]


def public_rollout(index: int, samples_per_prompt: int, scored: ScoredBatch, tensors: RolloutTensors) -> Rollout:
    """Return a copy of a rollout for those who look at it."""
    assert scored.shaped_scores is not None and scored.rewards is not None
    mask = scored.completion_mask

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        kept = tensor if tensor.dim() == 1 else torch.where(mask, tensor, torch.zeros_like(tensor))
        return kept.detach().to("cpu", copy=True)

    return Rollout(
        index,
        samples_per_prompt,
        list(scored.prompts),
        list(scored.texts),
        {name: list(values) for name, values in scored.columns.items()},
        ended=copy(scored.ended),
        completion_ids=copy(scored.completion_ids),
        completion_mask=copy(mask),
        scores=copy(scored.scores),
        shaped_scores=copy(scored.shaped_scores),
        rewards=copy(scored.rewards),
        logprobs=copy(scored.logprobs),
        ref_logprobs=copy(scored.ref_logprobs),
        log_ratio=copy(scored.log_ratio),
        kl=copy(scored.kl),
        advantages=copy(tensors.advantages),
        values=None if scored.values is None else copy(scored.values),
    )


def joined(parts: Sequence[Rollout]) -> Rollout:
    """Return the rollout of all processes from that of each."""
    first = parts[0]
    width = max(part.completion_ids.shape[1] for part in parts)

    def together(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if values[0] is None:
            return None
        if isinstance(values[0], torch.Tensor):
            wide = [pad(each, (0, width - each.shape[1])) if each.dim() == 2 else each for each in values]
            return torch.cat(wide)
        return [item for each in values for item in each]

    columns = {name: [value for part in parts for value in part.columns[name]] for name in first.columns}
    own = ("index", "samples_per_prompt", "columns")
    return replace(
        first, columns=columns, **{each.name: together(each.name) for each in fields(Rollout) if each.name not in own}
    )
