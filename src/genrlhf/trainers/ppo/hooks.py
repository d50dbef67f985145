"""What a method hands to the rollout loop: functions of a user's, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ConfigError, excerpt
from genrlhf.rewards.groups import GroupReward, as_group_reward
from genrlhf.trainers.own_code import check_call
from genrlhf.trainers.ppo.advantage import GroupAdvantage, group_advantage
from genrlhf.trainers.ppo.checks import check_group_reward

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.policy_loss import PolicyLoss
    from genrlhf.types import GroupRewardFunction

__all__ = ["SHAPING", "Hooks", "check_hooks"]

SHAPING = ("logprobs", "ref_logprobs", "kl_coef")
"""What `shape_reward` gets beside prompts, completions and rewards."""


@dataclass(frozen=True)
class Hooks:
    """Functions in place of what PPO does by itself.

    Attributes:
        estimate: of advantages among the completions of a prompt; None for those of a critic.
        group_reward: takes the other completions of a prompt into account; None does not.
        shape_reward: the same with log-probabilities at hand, last before the KL penalty.
        policy_loss: of every token; None for the clipped one.
        given: those that a user wrote, by the names under which a run is known.
    """

    estimate: GroupAdvantage | None
    group_reward: GroupReward | None
    shape_reward: GroupReward | None
    policy_loss: PolicyLoss | None
    given: dict[str, Any]

    def prepare(self, reward: Any, *run: Any) -> None:
        """Show a run to the reward and to each of these that has a method `prepare`.

        Args:
            reward: as the user gave it.
            run: policy, tokenizer, settings and training data.
        """
        terms = [term for term, _ in reward] if isinstance(reward, (list, tuple)) else [reward]
        for each in (*terms, *self.given.values()):
            if hasattr(each, "prepare") and not isinstance(each, torch.nn.Module):
                each.prepare(*run)

    def check_columns(self, columns: Sequence[str], *, source: str) -> None:
        """Raise an error where one of them wants what rows of these columns do not give it."""
        if self.group_reward is not None:
            self.group_reward.check_columns(columns, source=source)


def check_hooks(
    args: PPOConfig,
    *,
    advantage: GroupAdvantage | None = None,
    group_reward: GroupRewardFunction | None = None,
    shape_reward: GroupRewardFunction | None = None,
    policy_loss: PolicyLoss | None = None,
) -> Hooks:
    """Return the functions of a run; arguments as of `PPOTrainer`.

    An object that has `check_args(args)` is asked whether the settings suit it.

    Raises:
        ConfigError: where one of them is none, or cannot go with the settings.
    """
    grouped = as_group_reward(group_reward)
    shaping = as_group_reward(shape_reward, argument="shape_reward")
    check_group_reward(args, grouped)
    check_group_reward(args, shaping, argument="shape_reward")
    if shaping is not None:
        shaping.check_arguments(SHAPING)
    if policy_loss is not None and (isinstance(policy_loss, type) or not callable(policy_loss)):
        raise ConfigError(
            f"policy_loss is {excerpt(policy_loss)}; give a function of logprobs, old_logprobs, advantages and mask."
        )
    if policy_loss is not None:
        check_call(policy_loss, ("logprobs", "old_logprobs", "advantages", "mask"), "policy_loss")
    given: dict[str, Any] = {
        "advantage_function": advantage,
        "group_reward": None if grouped is None else grouped.function,
        "shape_reward": None if shaping is None else shaping.function,
        "policy_loss": policy_loss,
    }
    for function in given.values():
        if hasattr(function, "check_args"):
            function.check_args(args)
    return Hooks(
        estimate=group_advantage(args, advantage),
        group_reward=grouped,
        shape_reward=shaping,
        policy_loss=policy_loss,
        given={name: value for name, value in given.items() if value is not None},
    )
