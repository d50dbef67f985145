"""The loss of the policy on one micro-batch: the clipped one, or a user's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from genrlhf.errors import ConfigError, DataError, ShapeError
from genrlhf.ops import ClippedLoss, clipped_policy_loss
from genrlhf.trainers.own_code import named_errors

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.config import PPOConfig

__all__ = ["PolicyLoss", "policy_loss_of"]

PolicyLoss: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor | ClippedLoss]
"""`(logprobs, old_logprobs, advantages, mask) -> loss`, each (B, T); a `ClippedLoss` says where it was clipped, too."""


def policy_loss_of(args: PPOConfig, function: PolicyLoss | None) -> Callable[..., ClippedLoss]:
    """Return the loss of a run, a function of log-probabilities, old ones, advantages and mask, each (B, T)."""
    if function is not None:
        return partial(_checked, function)
    return partial(_clipped, clip_range=args.clip_range, clip_range_high=args.clip_range_high)


def _clipped(
    new: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor, **ranges: Any
) -> ClippedLoss:
    return clipped_policy_loss(new, old, advantages, **ranges)


def _checked(
    function: PolicyLoss, new: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor
) -> ClippedLoss:
    """Return what a user's function makes of them, where that is a loss for every token."""
    # 0 behind the end: what a function makes of other numbers there could reach the gradient as 0 · ∞.
    new, old, advantages = (torch.where(mask, each, 0.0) for each in (new, old, advantages))
    with named_errors("policy_loss"):
        found: Any = function(new, old, advantages, mask)
    loss, clipped = found if isinstance(found, ClippedLoss) else (found, None)
    if not isinstance(loss, torch.Tensor) or loss.shape != new.shape:
        shape = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise ShapeError(f"policy_loss returned {shape}; want {tuple(new.shape)}, a loss for every token.")
    if new.requires_grad and not loss.requires_grad:
        raise ConfigError("policy_loss returned a loss without a gradient; do not detach logprobs.")
    bad = mask & ~loss.detach().isfinite()
    if bad.any():
        row, place = bad.nonzero()[0].tolist()
        value, now, before, gain = (float(each.detach()[row, place]) for each in (loss, new, old, advantages))
        raise DataError(
            f"policy_loss returned {value} for a token of log-probability {now:.4g}, {before:.4g} when sampled, "
            f"and advantage {gain:.4g}; a loss must be finite."
        )
    return ClippedLoss(loss, torch.zeros_like(mask) if clipped is None else clipped)
