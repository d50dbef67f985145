"""Weighted sums of rewards."""

from __future__ import annotations

import math
from typing import Any

import pytest

from genrlhf.errors import ConfigError, RewardError
from genrlhf.rewards import WeightedReward


def length(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def bonus(prompts: list[str], completions: list[str], *, bonus: list[float], **columns: Any) -> list[float]:
    return bonus


def test_sum_by_hand_and_columns_reach_every_term() -> None:
    reward = WeightedReward([length, bonus], [0.5, -2])
    assert reward(["p", "q"], ["abcd", "ab"], bonus=[1.0, 3.0]) == [0.0, -5.0]
    assert reward.name == "0.5 length + -2 bonus"
    assert WeightedReward([reward, length], [2.0, 1.0])(["p"], ["ab"], bonus=[0.0]) == [4.0]


def test_a_sum_in_a_sum_has_the_weight_of_both() -> None:
    inner = WeightedReward([length, bonus], [2.0, 1.0])
    outer = WeightedReward([inner, WeightedReward([inner], [-1.0])], [10.0, 3.0])
    assert outer.name == "10 2 length + 1 bonus + 3 -1 2 length + 1 bonus"
    assert outer(["p"], ["ab"], bonus=[0.5]) == [10 * 4.5 - 3 * 4.5]


def test_a_bad_term_is_named() -> None:
    def broken(prompts: list[str], completions: list[str]) -> list[float]:
        return [math.nan]

    with pytest.raises(RewardError, match="^The reward broken gave nan to the completion 'c' of the prompt 'p'"):
        WeightedReward([length, broken], [1.0, 0.0])(["p"], ["c"])

    def short(prompts: list[str], completions: list[str]) -> list[float]:
        return []

    with pytest.raises(RewardError, match="^The reward short returned 0 values for 1 completions"):
        WeightedReward([length, short], [1.0, 1.0])(["p"], ["c"])


@pytest.mark.parametrize(("rewards", "weights"), [([], []), ([length], []), ([length], [1.0, 2.0])])
def test_as_many_weights_as_rewards(rewards: list[Any], weights: list[float]) -> None:
    with pytest.raises(ConfigError, match=f"{len(rewards)} rewards and {len(weights)} weights"):
        WeightedReward(rewards, weights)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_weights_are_finite(weight: float) -> None:
    with pytest.raises(ConfigError, match=f"^The weight of the reward length is {weight}"):
        WeightedReward([bonus, length], [1.0, weight])
