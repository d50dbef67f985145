"""How the rewards of a rollout become advantages: by values of a critic, or among the completions of a prompt."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from genrlhf.errors import ConfigError, RewardError, ShapeError
from genrlhf.ops import GROUP_ADVANTAGES

if TYPE_CHECKING:
    from genrlhf.rewards.groups import GroupReward
    from genrlhf.trainers.ppo.config import PPOConfig

__all__ = [
    "ADVANTAGES",
    "GroupAdvantage",
    "check_advantage",
    "check_group_reward",
    "group_advantage",
    "spread_over_tokens",
]

GroupAdvantage: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""`rewards, (G, n) float32 -> advantages, (G, n)`, of the n completions of each of G prompts."""

ADVANTAGES = ("gae", *GROUP_ADVANTAGES)
LOSS_MEANS = ("token", "sequence", "constant")
_OF_THE_REWARD_ITSELF = ("maxrl", "pass_at_k")
"""Estimators that mean nothing once a KL penalty has been taken off the reward."""


def group_advantage(args: PPOConfig, function: GroupAdvantage | None = None) -> GroupAdvantage | None:
    """Return the estimator of a run, None for generalised advantage estimation with a critic.

    Args:
        args: the settings.
        function: in place of the one that these name.

    Raises:
        ConfigError: for a function beside a name, or without groups.
    """
    if function is None:
        if args.advantage == "gae":
            return None
        found = GROUP_ADVANTAGES[args.advantage]
        return partial(found, k=args.pass_k) if args.advantage == "pass_at_k" else found
    if not callable(function):
        raise ConfigError(f"advantage is a {type(function).__name__}; give a function of rewards, (prompts, n).")
    if args.advantage != "gae":
        raise ConfigError(
            f"PPOConfig(advantage={args.advantage!r}) and PPOTrainer(advantage=…) both say how; leave one of them out."
        )
    _check_groups(args, "an advantage function")
    return function


def check_advantage(args: PPOConfig) -> None:
    """Raise `ConfigError` for settings that an estimator cannot go with."""
    name = args.advantage
    if name not in ADVANTAGES:
        raise ConfigError(f"advantage must be one of {', '.join(ADVANTAGES)}, not {name!r}.")
    if args.loss_mean not in LOSS_MEANS:
        raise ConfigError(f"loss_mean must be one of {', '.join(LOSS_MEANS)}, not {args.loss_mean!r}.")
    if name == "gae":
        return
    _check_groups(args, f"advantage={name!r}")
    if name == "pass_at_k" and args.pass_k > args.samples_per_prompt:
        raise ConfigError(f"pass_k is {args.pass_k}, and samples_per_prompt is {args.samples_per_prompt}; lower it.")
    if name in _OF_THE_REWARD_ITSELF:
        _check_reward_is_untouched(args)


def check_group_reward(args: PPOConfig, group_reward: GroupReward | None, *, argument: str = "group_reward") -> None:
    """Raise `ConfigError` for settings that a reward of groups cannot go with."""
    if group_reward is None:
        return
    _check_size(args, f"{argument}={group_reward.name}")
    if args.advantage == "pass_at_k":
        raise ConfigError(
            f"advantage='pass_at_k' counts successes of 0 and 1, which {argument}={group_reward.name} would change; "
            f"choose another advantage, or leave {argument} out."
        )


def _check_size(args: PPOConfig, what: str) -> None:
    if args.samples_per_prompt < 2:
        raise ConfigError(
            f"With {what} the completions of a prompt are compared, and samples_per_prompt is "
            f"{args.samples_per_prompt}; set it to 2 or more, such as 8."
        )


def _check_groups(args: PPOConfig, what: str) -> None:
    _check_size(args, what)
    if args.whiten_advantages or args.whiten_rewards:
        raise ConfigError(
            f"whiten_advantages and whiten_rewards rescale over the rollout what {what} has made relative to the "
            "group, by a random number that biases the gradient; leave them at None and False."
        )


def _check_reward_is_untouched(args: PPOConfig) -> None:
    name = args.advantage
    if args.kl_coef > 0 and not args.kl_in_loss:
        raise ConfigError(
            f"advantage={name!r} needs the reward itself, and a KL penalty would be taken off it; set "
            "kl_in_loss=True with kl_estimator='k3', or kl_coef=0."
        )
    lowest = 0.0 if args.missing_eos_score is None else args.missing_eos_score
    wrong = {
        "missing_eos_score": lowest < 0 or (name == "pass_at_k" and lowest not in (0.0, 1.0)),
        "missing_eos_penalty": bool(args.missing_eos_penalty),
        "length_penalty": args.length_penalty != 0,
        "scale_scores": name == "pass_at_k" and args.scale_scores,
        "clip_scores": name == "pass_at_k" and args.clip_scores is not None and args.clip_scores < 1,
    }
    for setting, is_wrong in wrong.items():
        if is_wrong:
            wanted = "0 or 1" if name == "pass_at_k" else "0 or more"
            raise ConfigError(
                f"advantage={name!r} needs rewards of {wanted}, which {setting}={getattr(args, setting)} would change; "
                "leave it at a value that changes nothing (0, None or False)."
            )


def spread_over_tokens(rewards: torch.Tensor, n: int, estimate: GroupAdvantage, mask: torch.Tensor) -> torch.Tensor:
    """Return the advantages of all tokens, (B, T) float32: one of a completion for each of its tokens.

    Args:
        rewards: (B,) float32, of completions, the n of a prompt side by side.
        n: completions of a prompt.
        estimate: the estimator.
        mask: (B, T) bool.

    Raises:
        ShapeError: where the estimator returns another shape.
        RewardError: where it returns what is not finite.
    """
    groups = rewards.float().view(-1, n)
    found: Any = estimate(groups)
    if not isinstance(found, torch.Tensor) or found.shape != groups.shape:
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ShapeError(
            f"The advantage function returned {shape} for rewards of {tuple(groups.shape)}; want the same."
        )
    bad = ~found.isfinite()
    if bad.any():
        group = int(bad.any(-1).nonzero()[0])
        raise RewardError(
            f"The advantage function returned {found[group].tolist()} for the rewards {groups[group].tolist()}; "
            "advantages must be finite."
        )
    return found.to(rewards.dtype).reshape(-1, 1) * mask
