"""The two clipped losses of PPO, per token."""

from __future__ import annotations

from typing import NamedTuple

import torch

from genrlhf.ops._checks import check_same_shape

__all__ = ["ClippedLoss", "clipped_policy_loss", "clipped_value_loss"]


class ClippedLoss(NamedTuple):
    """A loss per token and where its clipped branch was the active one.

    Attributes:
        loss: (B, T) float; its mean over the mask is minimised.
        clipped: (B, T) bool; True where clipping stopped the gradient.
    """

    loss: torch.Tensor
    clipped: torch.Tensor


def clipped_policy_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    *,
    clip_range: float,
    clip_range_high: float | None = None,
) -> ClippedLoss:
    """Return the clipped surrogate loss of every token.

    Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equation 7, negated, with ρ = π / π_old::

        loss_t = max(−ρ_t A_t, −clip(ρ_t, 1 − ε, 1 + ε) A_t)

    With another ε above 1 than below it is the "clip-higher" of DAPO (Yu et al. 2025, arXiv 2503.14476, equation 10).

    Args:
        logprobs: (B, T) float, under the policy being trained.
        old_logprobs: (B, T) float, under the policy that sampled.
        advantages: (B, T) float.
        clip_range: ε.
        clip_range_high: ε above 1; None for the same.
    """
    check_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages)
    ratio = (logprobs - old_logprobs).exp()
    unclipped = -advantages * ratio
    high = clip_range if clip_range_high is None else clip_range_high
    clipped = -advantages * ratio.clamp(1 - clip_range, 1 + high)
    return ClippedLoss(torch.maximum(unclipped, clipped), clipped > unclipped)


def clipped_value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, *, clip_range: float | None
) -> ClippedLoss:
    """Return half the squared error of every value, clipped to stay near the value predicted when sampling.

    The value loss of the PPO reference implementation (Huang et al. 2022, "The 37 Implementation Details of Proximal
    Policy Optimization", detail 9)::

        loss_t = ½ max((V_t − R_t)², (clip(V_t, V_old ± ε) − R_t)²)

    Args:
        values: (B, T) float, under the head being trained.
        old_values: (B, T) float, when sampled.
        returns: (B, T) float, the targets R_t.
        clip_range: ε, in units of reward; None switches clipping off.
    """
    check_same_shape(values=values, old_values=old_values, returns=returns)
    unclipped = (values - returns).square()
    if clip_range is None:
        return ClippedLoss(unclipped / 2, torch.zeros_like(unclipped, dtype=torch.bool))
    near = old_values + (values - old_values).clamp(-clip_range, clip_range)
    clipped = (near - returns).square()
    return ClippedLoss(torch.maximum(unclipped, clipped) / 2, clipped > unclipped)
