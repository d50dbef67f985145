"""Policy losses that hold back the tokens whose log-probability and advantage go together, by which entropy falls.

Cui et al. 2025, "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models" (arXiv 2505.22617).
"""

from __future__ import annotations

import torch

from genrlhf.ops._checks import check_same_shape
from genrlhf.ops.losses import ClippedLoss, clipped_policy_loss
from genrlhf.ops.masking import masked_mean

__all__ = ["clip_cov_loss", "kl_cov_loss", "token_covariance"]

ROUNDING = 1e-5
"""Log-probabilities of the same weights differ by less than this in float32, from one shape of batch to another."""


def token_covariance(logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return (A_t − Ā)(ℓ_t − ℓ̄), (B, T) without a gradient, 0 outside of the mask; means are over it.

    Args:
        logprobs: ℓ, (B, T) float.
        advantages: A, (B, T) float.
        mask: (B, T) bool.
    """
    check_same_shape(logprobs=logprobs, advantages=advantages, mask=mask)
    apart = [each - masked_mean(each, mask) for each in (advantages.detach(), logprobs.detach())]
    return torch.where(mask, apart[0] * apart[1], 0.0)


def kl_cov_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    share: float,
    coef: float,
) -> torch.Tensor:
    """Return −A_t ρ_t + c · abs(ℓ_t − ℓ_t^old) for the tokens of the largest covariance, else −A_t ρ_t, (B, T).

    Nothing is clipped. At ratio 1 the gradient of the penalty is 0, so that a rollout's first update is plain policy
    gradient; differences up to 1e-5, whose sign is that of rounding, count as none.

    Args:
        logprobs: ℓ, (B, T) float, under the policy being trained.
        old_logprobs: ℓ^old, (B, T) float, under the policy that sampled.
        advantages: (B, T) float.
        mask: (B, T) bool, tokens that count.
        share: of the tokens of this micro-batch that are penalised, one at least; 0 for none.
        coef: c.
    """
    check_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask)
    plain = -advantages * (logprobs - old_logprobs).exp()
    count = min(max(int(share * mask.sum()), 1), int(mask.sum())) if share > 0 else 0
    if not count:
        return plain
    covariance = token_covariance(logprobs, advantages, mask).masked_fill(~mask, -torch.inf).flatten()
    chosen = torch.zeros_like(covariance, dtype=torch.bool)
    chosen[covariance.topk(count).indices] = True
    apart = (logprobs - old_logprobs).abs()
    return plain + torch.where(chosen.view_as(mask) & (apart > ROUNDING), coef * apart, 0.0)


def clip_cov_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    share: float,
    low: float,
    high: float,
    clip_range: float,
) -> ClippedLoss:
    """Return PPO's clipped loss with 0 for tokens drawn from those with a covariance between `low` and `high`, (B, T).

    Drawn by torch's random numbers, which a checkpoint keeps, from those that clipping has not stopped already.

    Args:
        logprobs: (B, T) float, under the policy being trained.
        old_logprobs: (B, T) float, under the policy that sampled.
        advantages: (B, T) float, whose scale gives `low` and `high` their meaning.
        mask: (B, T) bool, tokens that count.
        share: of the tokens of this micro-batch that are drawn, one at least where there are any; 0 for none.
        low: covariance above which tokens are drawn.
        high: and below which.
        clip_range: ε of PPO.
    """
    plain = clipped_policy_loss(logprobs, old_logprobs, advantages, clip_range=clip_range)
    covariance = token_covariance(logprobs, advantages, mask)
    near = (covariance > low) & (covariance < high) & mask & ~plain.clipped
    count = min(max(int(share * mask.sum()), 1), int(near.sum())) if share > 0 else 0
    if not count:
        return plain
    places = near.flatten().nonzero().squeeze(-1)
    drawn = places[torch.randperm(len(places), device=places.device)[:count]]
    dropped = torch.zeros_like(near).flatten().index_fill(0, drawn, True).view_as(near)
    return ClippedLoss(torch.where(dropped, plain.loss * 0, plain.loss), plain.clipped | dropped)
