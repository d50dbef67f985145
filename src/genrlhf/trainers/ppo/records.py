"""What PPO hands from sampling to scoring and to the updates; shapes as in `genrlhf.types`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from genrlhf.types import TokenBatch

__all__ = ["MicroBatch", "Rollout", "ScoredBatch"]


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
class Rollout(_Targets):
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
