"""A rollout as callbacks and rewards that learn see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad

from genrlhf.trainers.ppo.records import in_groups, unpadded

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.records import RolloutTensors, ScoredBatch

__all__ = ["Rollout", "joined", "public_rollout"]


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
        return unpadded(self.completion_ids, self.completion_mask)


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
