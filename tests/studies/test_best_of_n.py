"""The best-of-n curve of pools, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError, ShapeError
from genrlhf.studies import best_of_n_curve
from genrlhf.studies.best_of_n import pool_curve

REWARDS = [[3.0, 1.0, 2.0], [0.0, 6.0, 6.0]]
"""Pairs of the first input have the maxima 3, 3, 2; of the second 6, 6, 6."""

PREFERENCES = [[0.0, 1.0, 0.5], [1.0, 0.0, 1.0]]
"""Best of 2: the first input's samples are the best of 2/3, 0, 1/3 of the pairs, the second's of 0, 1/2, 1/2."""


def test_curve_by_hand() -> None:
    one, two, three = best_of_n_curve(REWARDS, PREFERENCES)
    assert [point.n for point in (one, two, three)] == [1, 2, 3]
    assert [one.kl, two.kl, three.kl] == pytest.approx([0.0, math.log(2) - 1 / 2, math.log(3) - 2 / 3])
    assert one.reward.values.tolist() == pytest.approx([2, 4])
    assert two.reward.values.tolist() == pytest.approx([8 / 3, 6])
    assert three.reward.values.tolist() == pytest.approx([3, 6])
    assert one.preference is not None and two.preference is not None and three.preference is not None
    assert one.preference.values.tolist() == pytest.approx([1 / 2, 2 / 3])
    assert two.preference.values.tolist() == pytest.approx([1 / 6, 1 / 2])
    assert three.preference.values.tolist() == pytest.approx([0, 1 / 2])
    # Of two values a and b the standard error is |a − b| / 2, and t with one degree of freedom is 12.7062.
    assert two.reward.value == pytest.approx(13 / 3)
    assert two.reward.stderr == pytest.approx(5 / 3)
    assert two.reward.ci == pytest.approx((13 / 3 - 12.7062 * 5 / 3, 13 / 3 + 12.7062 * 5 / 3), abs=1e-4)
    assert two.reward.n == 2


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])],
)
def test_powers_of_two_up_to_all_samples(size: int, expected: list[int]) -> None:
    assert [point.n for point in best_of_n_curve([list(range(size))] * 2)] == expected


def test_given_ns_in_their_order_from_an_array() -> None:
    points = best_of_n_curve(np.array(REWARDS), ns=[3, 1])
    assert [(point.n, point.reward.value, point.preference) for point in points] == [(3, 4.5, None), (1, 3.0, None)]


def test_an_input_without_all_verdicts_is_left_out_of_preference_only() -> None:
    two = best_of_n_curve(REWARDS, [[0.0, None, 0.5], [1.0, 0.0, 1.0]], ns=[2])[0]
    assert two.preference is not None
    assert (two.reward.n, two.preference.n, two.preference.value) == (2, 1, 0.5)
    assert best_of_n_curve(REWARDS, [[None, 1.0, 1.0], [1.0, 0.0, None]])[0].preference is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0, 2.0], [1.0]],), ShapeError, "rewards, row 1 has 1 samples, and row 0 has 2"),
        (([],), ShapeError, "at least one input"),
        (([[]],), ShapeError, "at least one sample"),
        (([1.0, 2.0],), ShapeError, "one list of numbers per input"),
        (([[1.0, 2.0], [1.0, math.nan]],), DataError, "rewards, row 1 has nan"),
        (([[1.0, math.inf]],), DataError, "rewards, row 0 has inf"),
        (([[1.0, "high"]],), DataError, "rewards, row 0 has 'high'"),
        (([[1.0, 2.0], [None, 1.0]],), DataError, "rewards, row 1 has a None"),
        ((REWARDS, PREFERENCES[:1]), ShapeError, r"shape \(1, 3\), and rewards \(2, 3\)"),
        ((REWARDS, [[0.0, 0.0, 0.0], [0.0, 1.5, 1.0]]), DataError, "preferences, row 1 has 1.5"),
        ((REWARDS, [[0.0, 0.0, 0.0], [0.0, math.nan, 1.0]]), DataError, "preferences, row 1 has nan"),
        ((REWARDS, None, [1, 4]), ConfigError, "from 1 to 3"),
        ((REWARDS, None, [0]), ConfigError, "from 1 to 3"),
        ((REWARDS, None, []), ConfigError, "from 1 to 3"),
    ],
)
def test_what_cannot_be_used_is_named(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        best_of_n_curve(*arguments)


ROWS = [
    {"prompt": "p", "outputs": ["a", "good", "b", "good"], "rewards": [3.0, 1.0, 2.0, 9.0], "reference": "r"},
    {"prompt": "q", "outputs": ["good", "b", "good", "a"], "rewards": [0.0, 6.0, 6.0, 9.0], "reference": "r"},
]


class Good:
    """Prefers what is good to what is not, says nothing of `silent`, and counts its calls."""

    def __init__(self, silent: str = "") -> None:
        self.silent = silent
        self.calls = 0

    def __call__(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        self.calls += 1
        return [self.verdict(one, other) for one, other in zip(first, second, strict=True)]

    def verdict(self, first: str, second: str) -> float | None:
        if self.silent in (first, second):
            return None
        return 1.5 - 0.5 * (first == "good") + 0.5 * (second == "good")


def test_the_first_samples_of_a_pool_are_judged_in_one_call() -> None:
    judge = Good()
    one, two, three = pool_curve(ROWS, 3, judge)
    assert judge.calls == 1
    assert [point.reward.value for point in (one, two, three)] == pytest.approx([3, 13 / 3, 4.5])
    values = [point.preference.values.tolist() for point in (one, two, three) if point.preference is not None]
    # Verdicts of the first: tie, won, tie; of the second: won, tie, won.
    assert values == [pytest.approx([2 / 3, 5 / 6]), pytest.approx([1 / 2, 3 / 4]), pytest.approx([1 / 2, 3 / 4])]


def test_verdicts_stay_with_their_samples_where_the_judge_is_silent() -> None:
    rows = [{**ROWS[0], "outputs": ["a", "?", "good"]}, {**ROWS[1], "outputs": ["b", "b", "good"]}]
    three = pool_curve(rows, 3, Good(silent="?"))[-1]
    assert three.preference is not None
    # The first input is left out; of the second, samples 1 (tie) and 2 (won) are the best in equal parts.
    assert three.preference.values.tolist() == pytest.approx([0.75])


def test_without_judge_or_references_there_are_no_preferences() -> None:
    assert pool_curve(ROWS, 3, None)[0].preference is None
    bare = [{name: value for name, value in row.items() if name != "reference"} for row in ROWS]
    assert pool_curve(bare, 3, Good())[0].preference is None
