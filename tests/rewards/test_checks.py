"""A reward must return one finite number a completion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from genrlhf.errors import RewardError
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name

PROMPTS = ["the first prompt", "the second prompt"]
COMPLETIONS = [" one", " two"]


@pytest.mark.parametrize(
    "values",
    [
        [1, -2.5],
        (1.0, -2.5),
        np.array([1.0, -2.5]),
        torch.tensor([1.0, -2.5]),
        iter([1.0, -2.5]),
        ["1", np.float32(-2.5)],
        [[1.0], [-2.5]],
        np.array([[1.0], [-2.5]]),
        torch.tensor([[1.0], [-2.5]], dtype=torch.bfloat16),
        torch.tensor([1.0, -2.5], requires_grad=True),
        pd.Series([1.0, -2.5], index=["b", "a"]),
        pd.DataFrame({3: [1.0, -2.5]}),
        pa.array([1.0, -2.5]),
    ],
)
def test_numbers_of_every_kind_become_floats(values: Any) -> None:
    rewards = check_rewards(values, PROMPTS, COMPLETIONS, name="r")
    assert rewards == [1.0, -2.5]
    assert all(type(value) is float for value in rewards)


@pytest.mark.parametrize("values", ["12", b"12", {0: 1.0, 1: 2.0}, {1.0, 2.0}, {"a": 1, "b": 2}.keys()])
def test_letters_keys_and_what_has_no_order_are_no_rewards(values: Any) -> None:
    with pytest.raises(RewardError, match="^The reward brevity returned .*must return one number for each of the 2"):
        check_rewards(values, PROMPTS, COMPLETIONS, name="brevity")


@pytest.mark.parametrize(
    "values", [np.zeros((2, 2)), torch.zeros(2, 3), [[1.0, 2.0], [3.0, 4.0]], torch.tensor(1.0), [None, 1.0], [[], []]]
)
def test_items_that_are_several_numbers_or_none_are_no_rewards(values: Any) -> None:
    with pytest.raises(RewardError, match="(?s)^The reward brevity returned .*must return one number for each of"):
        check_rewards(values, PROMPTS, COMPLETIONS, name="brevity")


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0, 3.0], torch.zeros(3)])
def test_wrong_count(values: Any) -> None:
    with pytest.raises(RewardError, match=rf"^The reward brevity returned {len(values)} values for 2 completions"):
        check_rewards(values, PROMPTS, COMPLETIONS, name="brevity")


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
@pytest.mark.parametrize("row", [0, 1])
def test_what_is_not_finite_shows_prompt_and_completion(value: float, shown: str, row: int) -> None:
    values = [0.0, 0.0]
    values[row] = value
    message = f"The reward brevity gave {shown} to the completion '{COMPLETIONS[row]}' of the prompt '{PROMPTS[row]}'; "
    with pytest.raises(RewardError, match=f"^{message}"):
        check_rewards(values, PROMPTS, COMPLETIONS, name="brevity")


def test_long_texts_are_cut() -> None:
    with pytest.raises(RewardError) as caught:
        check_rewards([math.nan], ["p" * 1000], ["c\n" * 1000], name="r")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [None, 3.0, [None, 1.0], ["high", "low"], [[1.0, 2.0], [3.0, 4.0]], torch.tensor(1.0)]
)
def test_what_is_no_list_of_numbers_is_shown(values: Any) -> None:
    with pytest.raises(RewardError, match=r"^The reward r returned .*; it must return one number for each of the 2"):
        check_rewards(values, PROMPTS, COMPLETIONS, name="r")


def test_names() -> None:
    class Named:
        name = "politeness"

    class Unnamed:
        def __call__(self) -> None: ...

    def brevity() -> None: ...

    assert [reward_name(r) for r in (Named(), Unnamed(), brevity)] == ["politeness", "Unnamed", "brevity"]
