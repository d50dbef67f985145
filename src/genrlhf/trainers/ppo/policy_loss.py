"""A user's loss of the policy, in place of the clipped one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from genrlhf.errors import ConfigError, DataError, ShapeError
from genrlhf.ops import ClippedLoss
from genrlhf.trainers.own_code import named_errors

__all__ = ["PolicyLoss", "checked_policy_loss"]

PolicyLoss: TypeAlias = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor | ClippedLoss]
"""`(logprobs, old_logprobs, advantages, mask) -> loss`, each (B, T); a `ClippedLoss` says where it was clipped, too."""


def checked_policy_loss(
    function: PolicyLoss, new: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor
) -> ClippedLoss:
    """Return what a user's function makes of log-probabilities, old ones, advantages and mask, each (B, T).

    Raises:
        ShapeError: where that is no loss for every token.
        ConfigError: where it has no gradient.
        DataError: where it is not finite.
    """
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
