"""Rewards above a threshold, made equal under a KL penalty."""

from __future__ import annotations

import torch

from genrlhf.errors import ConfigError
from genrlhf.ops._checks import check_same_shape

__all__ = ["anchored_rewards"]


def anchored_rewards(
    rewards: torch.Tensor,
    ref_logprobs: torch.Tensor,
    anchors: torch.Tensor | None = None,
    *,
    threshold: float,
    kl_coef: float,
    max_nats: float | None = None,
) -> torch.Tensor:
    """Return r(z) + β (log π_ref(z) − log π_ref(y)) where r(y) ≥ τ, and r(y) elsewhere, (G, n).

    MARA: GX-Chen et al. 2025, "KL-Regularized Reinforcement Learning is Designed to Mode Collapse" (arXiv 2510.20817).
    The optimum of a reward r̄ under a KL penalty is π(y) ∝ π_ref(y) exp(r̄(y) / β), which for these y is
    π_ref(z) exp(r(z) / β): the same for all. z is the completion with r ≥ τ that is the likeliest under the reference,
    of its group or, where that is likelier, an anchor from before. A constant added to all of log π_ref cancels.

    Args:
        rewards: r, (G, n) float.
        ref_logprobs: log π_ref of whole completions, (G, n) float, at the temperature that they were sampled at.
        anchors: (G, 2) float, reward and log-probability of an anchor from before; −∞ in the second for none.
        threshold: τ.
        kl_coef: β, of the penalty in force; above 0.
        max_nats: the difference of log-probabilities counts up to this; None for no limit.

    Raises:
        ConfigError: for a β of 0, which makes the shaping nothing.

    Example:
        >>> ref_logprobs = torch.tensor([[0.4, 0.2, 0.3]]).log()
        >>> shaped = anchored_rewards(torch.tensor([[1.0, 1.0, 0.0]]), ref_logprobs, threshold=1.0, kl_coef=0.1)
        >>> (ref_logprobs + shaped / 0.1).softmax(-1).round(decimals=3)  # the optimum
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    check_same_shape(rewards=rewards, ref_logprobs=ref_logprobs)
    if not kl_coef > 0:
        raise ConfigError(f"kl_coef is {kl_coef}; what takes back a KL penalty needs one above 0.")
    good = rewards >= threshold
    likely, place = ref_logprobs.masked_fill(~good, -torch.inf).max(-1, keepdim=True)
    value = rewards.gather(-1, place)
    if anchors is not None:
        before, known = anchors[:, :1], anchors[:, 1:]
        value = torch.where(known > likely, before, value)
        likely = torch.maximum(known, likely)
    gap = likely - ref_logprobs
    if max_nats is not None:
        gap = gap.clamp(max=max_nats)
    return torch.where(good, value + kl_coef * gap, rewards)
