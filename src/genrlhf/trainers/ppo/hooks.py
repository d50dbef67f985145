"""What a method hands to the rollout loop: functions of a user's, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genrlhf.rewards.groups import GroupReward, as_group_reward
from genrlhf.trainers.ppo.advantage import GroupAdvantage, check_group_reward, group_advantage

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.types import GroupRewardFunction

__all__ = ["Hooks", "check_hooks"]


@dataclass(frozen=True)
class Hooks:
    """Functions in place of what PPO does by itself.

    Attributes:
        estimate: of advantages among the completions of a prompt; None for those of a critic.
        group_reward: takes the other completions of a prompt into account; None does not.
        given: those that a user wrote, by the names under which a run is known.
    """

    estimate: GroupAdvantage | None
    group_reward: GroupReward | None
    given: dict[str, Any]

    def check_columns(self, columns: Sequence[str], *, source: str) -> None:
        """Raise an error where one of them wants what rows of these columns do not give it."""
        if self.group_reward is not None:
            self.group_reward.check_columns(columns, source=source)


def check_hooks(
    args: PPOConfig, *, advantage: GroupAdvantage | None = None, group_reward: GroupRewardFunction | None = None
) -> Hooks:
    """Return the functions of a run; arguments as of `PPOTrainer`.

    Raises:
        ConfigError: where one of them is none, or cannot go with the settings.
    """
    grouped = as_group_reward(group_reward)
    check_group_reward(args, grouped)
    given = {"advantage_function": advantage, "group_reward": None if grouped is None else grouped.function}
    return Hooks(
        group_advantage(args, advantage), grouped, {name: value for name, value in given.items() if value is not None}
    )
