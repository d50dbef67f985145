"""From the scores of completions to the rewards of their tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from genrlhf.ops import adaptive_entropy_coef, adaptive_kl_coef, masked_moments, token_rewards, whiten, widened

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.state import PPOState

__all__ = ["shape_scores", "shaped_token_rewards", "update_entropy_coef", "update_kl_coef"]


def shape_scores(
    scores: torch.Tensor,
    ended: torch.Tensor,
    lengths: torch.Tensor,
    args: PPOConfig,
    state: PPOState,
    reduce: Callable[[torch.Tensor], torch.Tensor],
    *,
    regroup: Callable[[torch.Tensor], torch.Tensor] | None = None,
    count: bool = True,
) -> torch.Tensor:
    """Return the scores that PPO is to maximise, (B,) float32.

    In this order: division by the deviation of all scores so far, clipping, the rule for completions that were cut
    off, the reward of the group, the length penalty.

    Args:
        scores: (B,) float32.
        ended: (B,) bool, False for a completion that was cut off.
        lengths: (B,) int64, in tokens.
        args: the settings.
        state: remembers the moments of the scores.
        reduce: sums over processes.
        regroup: from the scores to those that take the others of the prompt into account; None leaves them.
        count: remember these scores.
    """
    if args.scale_scores:
        if count:
            _remember(scores, state, reduce)
        scores = scores / state.score_std
    if args.clip_scores is not None:
        scores = scores.clamp(-args.clip_scores, args.clip_scores)
    scores = args.cut_off_rule.apply(scores, ended)
    if regroup is not None:
        scores = regroup(scores)
    return scores - args.length_penalty * lengths


def _remember(scores: torch.Tensor, state: PPOState, reduce: Callable[[torch.Tensor], torch.Tensor]) -> None:
    everything = torch.ones_like(scores, dtype=torch.bool)
    count = float(reduce(widened(everything.sum())))
    mean, variance = masked_moments(scores, everything, reduce=reduce)
    state.add_scores(count, float(mean), float(variance) * max(count - 1, 0))


def shaped_token_rewards(
    scores: torch.Tensor,
    kl: torch.Tensor,
    mask: torch.Tensor,
    args: PPOConfig,
    state: PPOState,
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the rewards of tokens, (B, T) float32: see `token_rewards`; whitened if the settings say so."""
    coef = 0.0 if args.kl_in_loss else state.kl_coef
    rewards = token_rewards(scores, kl, mask, kl_coef=coef)
    return whiten(rewards, mask, shift_mean=False, reduce=reduce) if args.whiten_rewards else rewards


def update_kl_coef(
    log_ratios: torch.Tensor, args: PPOConfig, state: PPOState, reduce: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Move an adaptive KL coefficient after a rollout.

    Args:
        log_ratios: (B,) float32, log π − log π_ref of whole completions.
        args: the settings.
        state: holds the coefficient.
        reduce: sums over processes.
    """
    if args.kl_target is None:
        return
    total, count = reduce(torch.stack([widened(log_ratios).sum(), widened(torch.ones_like(log_ratios)).sum()])).tolist()
    state.kl_coef = adaptive_kl_coef(
        state.kl_coef, total / count, target=args.kl_target, horizon=args.kl_horizon, num_samples=int(count)
    )


def update_entropy_coef(
    entropy: torch.Tensor,
    mask: torch.Tensor,
    args: PPOConfig,
    state: PPOState,
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Move an adaptive weight of the entropy bonus after a rollout, for its updates.

    Args:
        entropy: (B, T) float32, of the distribution that tokens were drawn from, in nats.
        mask: (B, T) bool.
        args: the settings.
        state: holds the weight.
        reduce: sums over processes.
    """
    if args.entropy_target is None:
        return
    total, count = reduce(torch.stack([widened(entropy * mask).sum(), widened(mask.sum())])).tolist()
    options = {"target": args.entropy_target, "step": args.entropy_step}
    state.entropy_coef = adaptive_entropy_coef(state.entropy_coef, total / count, **options)
