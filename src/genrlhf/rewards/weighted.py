"""Sums of rewards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from genrlhf.errors import ConfigError
from genrlhf.rewards.calls import AsyncRewardFunction, CallableReward, call_rewards
from genrlhf.rewards.checks import check_rewards, reward_name
from genrlhf.rewards.model_reward import ModelReward
from genrlhf.rewards.signatures import SAMPLED, bind
from genrlhf.types import RewardFunction

__all__ = ["WeightedReward", "as_reward", "check_arguments"]


class WeightedReward:
    """Σ w_i r_i over several rewards; those that are asynchronous run at the same time.

    Args:
        rewards: the terms r_i.
        weights: their w_i, as many.

    Raises:
        ConfigError: where there are none, not as many weights as rewards, or a weight is not finite.
    """

    def __init__(self, rewards: Sequence[RewardFunction | AsyncRewardFunction], weights: Sequence[float]) -> None:
        if not rewards or len(rewards) != len(weights):
            raise ConfigError(
                f"There are {len(rewards)} rewards and {len(weights)} weights; give as many, at least one."
            )
        for reward, weight in zip(rewards, weights, strict=True):
            if not math.isfinite(weight):
                raise ConfigError(f"The weight of the reward {reward_name(reward)} is {weight}; give a finite number.")
        self.rewards = [as_reward(reward) for reward in rewards]
        self.weights = [float(weight) for weight in weights]
        self.name = " + ".join(f"{w:g} {reward_name(r)}" for w, r in zip(self.weights, self.rewards, strict=True))

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
        """Return the weighted sum for every completion.

        Raises:
            RewardError: where a term fails, or returns anything but a finite number for each completion; it is named.
        """
        rewards, weights = zip(*self._terms(), strict=True)
        totals = [0.0] * len(completions)
        found = call_rewards(rewards, prompts, completions, columns)
        for reward, weight, values in zip(rewards, weights, found, strict=True):
            checked = check_rewards(values, prompts, completions, name=reward_name(reward))
            totals = [total + weight * value for total, value in zip(totals, checked, strict=True)]
        return totals

    def _terms(self) -> Iterator[tuple[RewardFunction, float]]:
        """Yield reward and weight of every term, those of a sum in this sum among them."""
        for reward, weight in zip(self.rewards, self.weights, strict=True):
            if isinstance(reward, WeightedReward):
                yield from ((term, weight * inner) for term, inner in reward._terms())
            else:
                yield reward, weight


def as_reward(reward: RewardFunction | AsyncRewardFunction) -> RewardFunction:
    """Return a reward of ours as it is, and a user's callable as a `CallableReward`."""
    return reward if isinstance(reward, (CallableReward, ModelReward, WeightedReward)) else CallableReward(reward)


def check_arguments(reward: RewardFunction, columns: Sequence[str]) -> None:
    """Raise `RewardError` where a callable wants what rows of these columns do not give it."""
    if isinstance(reward, WeightedReward):
        for term in reward.rewards:
            check_arguments(term, columns)
    elif isinstance(reward, CallableReward):
        given: dict[str, Sequence[Any]] = {column: [] for column in (*SAMPLED, *columns) if column != "prompt"}
        bind(reward.function, [], [], given, name=reward.name)
