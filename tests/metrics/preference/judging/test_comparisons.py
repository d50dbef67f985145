"""Comparisons in one order and in both."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.preference import (
    PromptJudge,
    ScoreJudge,
    annotation_win_rates,
    judge_comparisons,
    known_preferences,
    win_rate,
)

PROMPTS = [f"p{i}" for i in range(40)]
FIRST = [f"{'a' * (i % 4)}" for i in range(40)]
SECOND = [f"{'b' * (i % 3)}" for i in range(40)]
longer = ScoreJudge(lambda prompts, completions: [len(text) for text in completions])


def first_shown(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
    return [1.0] * len(prompts)


@pytest.mark.parametrize("order", ["random", "both"])
def test_a_fair_judge_is_the_same_in_any_order(order: str) -> None:
    judged = judge_comparisons(PROMPTS, FIRST, SECOND, longer, order=order)  # type: ignore[arg-type]
    expected = [1.0 if len(a) > len(b) else 2.0 if len(b) > len(a) else 1.5 for a, b in zip(FIRST, SECOND, strict=True)]
    assert [one.preference for one in judged.comparisons] == expected
    assert judged.flip_rate == (None if order == "random" else 0.0)


def test_a_judge_that_likes_a_place() -> None:
    both = judge_comparisons(PROMPTS, FIRST, SECOND, first_shown, order="both")
    assert {one.preference for one in both.comparisons} == {1.5}
    assert both.flip_rate == 1.0 and both.first_shown_wins == 1.0
    random = judge_comparisons(PROMPTS, FIRST, SECOND, first_shown)
    assert 10 <= sum(one.preference == 1 for one in random.comparisons) <= 30
    assert random.first_shown_wins == 1.0


def test_an_answer_in_one_order_alone_is_none() -> None:
    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        return [None if a.startswith("a") else 1.0 for a in first]

    judged = judge_comparisons(["p"], ["a"], ["b"], judge, order="both")
    assert judged.comparisons[0].preference is None and judged.comparisons[0].flipped is None
    assert judged.flip_rate is None and judged.first_shown_wins == 1.0


def test_annotations_count_as_win_rate_does() -> None:
    judged = judge_comparisons(PROMPTS, FIRST, SECOND, longer, seed=3)
    rows = judged.to_annotations(("old", "new"), "length")
    found = annotation_win_rates(rows)["new"]
    expected = win_rate(PROMPTS, SECOND, FIRST, longer, seed=3)
    assert found.win_rate == pytest.approx(100 * expected.value)
    assert (found.n_wins, found.n_wins_base, found.n_draws) == (expected.wins, expected.losses, expected.ties)
    assert rows[1] == {
        "instruction": "p1",
        "output_1": "a",
        "generator_1": "old",
        "output_2": "b",
        "generator_2": "new",
        "annotator": "length",
        "preference": 1.5,
        "flipped": None,
        "first_shown_wins": 0.5,
        "raw_completion": None,
        "reason": None,
    }


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="order is 'sideways'"):
        judge_comparisons(["p"], ["a"], ["b"], longer, order="sideways")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="There are no prompts"):
        judge_comparisons([], [], [], longer)
    with pytest.raises(DataError, match="There are 1 prompts, 2 first and 1 second"):
        judge_comparisons(["p"], ["a", "b"], ["c"], longer)


def test_what_is_known_or_equal_is_not_asked() -> None:
    asked: list[tuple[str, str, str]] = []

    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        asked.extend(zip(prompts, first, second, strict=True))
        return [2.0 if text == "new" else 1.0 for text in second]

    rows = [
        {"instruction": "p", "output_1": "a", "output_2": "new", "annotator": "j", "preference": 1.25},
        {"instruction": "q", "output_1": "a", "output_2": "new", "annotator": "j", "preference": None},
        {"instruction": "r", "output_1": "a", "output_2": "new", "annotator": "k", "preference": 1},
    ]
    known = known_preferences(rows, annotator="j")
    assert known == {("p", "a", "new"): 1.25, ("p", "new", "a"): 1.75}
    columns = (["p", "p", "q", "r", "s", "q"], ["a", "new", "a", "a", "a", "a"], ["new", "a", "new", "new", "a", "new"])
    judged = judge_comparisons(*columns, judge, order="both", known=known)
    assert [one.preference for one in judged.comparisons] == [1.25, 1.75, 2, 2, 1.5, 2]
    assert [one.flipped for one in judged.comparisons] == [None, None, False, False, None, False]
    assert sorted(asked) == [("q", "a", "new"), ("q", "new", "a"), ("r", "a", "new"), ("r", "new", "a")]
    assert set(known_preferences(rows)) == {(p, *order) for p in "pr" for order in (("a", "new"), ("new", "a"))}


def test_alpaca_eval_s_order_knows_the_instruction_alone() -> None:
    shown: list[tuple[str, str]] = []

    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        shown.extend(zip(prompts, first, strict=True))
        return [1.0] * len(prompts)

    prompts = [f"p{i}" for i in range(60)]
    for outputs in (("a", "b"), ("b", "a"), ("x", "y")):
        judge_comparisons(prompts, [outputs[0]] * 60, [outputs[1]] * 60, judge, order="alpaca_eval")
    swaps = [[text == second for _, text in shown[i * 60 : i * 60 + 60]] for i, second in enumerate("bay")]
    assert swaps[0] == swaps[1] == swaps[2] and 15 < sum(swaps[0]) < 45
    judge_comparisons(prompts, ["a"] * 60, ["b"] * 60, judge, order="alpaca_eval", seed=1)
    assert [text == "b" for _, text in shown[180:]] != swaps[0]


def test_annotations_keep_what_was_answered() -> None:
    judge = PromptJudge(lambda conversations: [f"no {number}" for number in range(len(conversations))])
    judged = judge_comparisons(["p", "q"], ["a", "c"], ["b", "c"], judge, order="both")
    first, second = judged.to_annotations(("x", "y"), "j", judge.answers)
    assert sorted(first["raw_completion"]) == ["no 0", "no 0"] and first["preference"] is None
    assert second["raw_completion"] is None and second["preference"] == 1.5
    judge = PromptJudge(lambda conversations: ["no"] * len(conversations))
    judged = judge_comparisons(["p"], ["a"], ["b"], judge)
    assert judged.to_annotations(("x", "y"), "j", judge.answers)[0]["raw_completion"] == "no"
