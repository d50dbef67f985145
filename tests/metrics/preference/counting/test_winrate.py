"""Win rates: their counts, intervals, and what the order of the outputs does to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import DataError, JudgeError
from genrlhf.metrics.preference import ScoreJudge, preference_vs_reference, win_rate
from genrlhf.metrics.score_interval import score_interval
from genrlhf.types import Estimate

longer = ScoreJudge(lambda prompts, completions: [float(len(text)) for text in completions])


def by_prompt(answers: dict[str, float | None], ours: str) -> Any:
    """Return a judge that gives an answer by prompt, as seen from the side whose outputs begin with `ours`."""

    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float | None]:
        given = []
        for prompt, shown in zip(prompts, first, strict=True):
            answer = answers[prompt]
            given.append(answer if answer is None or shown.startswith(ours) else 3 - answer)
        return given

    return judge


def always_first(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
    return [1.0] * len(prompts)


def columns(n: int) -> tuple[list[str], list[str], list[str]]:
    numbers = range(n)
    return [f"p{i}" for i in numbers], [f"ours {i}" for i in numbers], [f"theirs {i}" for i in numbers]


def test_counts_by_hand() -> None:
    answers = {"p0": 1.0, "p1": 1.0, "p2": 2.0, "p3": 1.5, "p4": None, "p5": 1.2}
    rate = win_rate(*columns(6), by_prompt(answers, "ours"))
    assert (rate.wins, rate.losses, rate.ties, rate.unanswered, rate.n) == (3, 1, 1, 1, 5)
    assert rate.values == pytest.approx([1, 1, 0, 0.5, 0.8], abs=1e-12)
    assert rate.value == pytest.approx(3.3 / 5, rel=1e-12)
    # deviations .34 .34 −.66 −.16 .14, squares .1156 .1156 .4356 .0256 .0196, together .712
    assert rate.stderr == pytest.approx(math.sqrt(0.712 / 4 / 5), rel=1e-9)
    assert isinstance(rate, Estimate)
    assert set(rate.to_dict()) == {"value", "stderr", "ci", "n"}


def test_every_order_occurs_and_depends_on_the_seed() -> None:
    shown: list[list[str]] = []

    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[float]:
        assert all({one.split()[0], other.split()[0]} == {"ours", "theirs"} for one, other in zip(first, second))  # noqa: B905
        shown.append([text.split()[0] for text in first])
        return [1.5] * len(prompts)

    for seed in (0, 0, 1):
        win_rate(*columns(400), judge, seed=seed)
    assert shown[0] == shown[1] != shown[2]
    # 5 standard deviations of a fair coin thrown 400 times
    assert all(abs(first.count("ours") - 200) < 50 for first in shown)


def test_a_judge_of_position_alone_finds_no_difference() -> None:
    rate = win_rate(*columns(2000), always_first)
    assert rate.value == pytest.approx(0.5, abs=0.045)


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.text(max_size=3)), min_size=1, max_size=20))
def test_swapping_the_sides_of_any_judge_gives_the_complement(rows: list[tuple[str, str, str]]) -> None:
    rows = [(prompt, one, other) for prompt, one, other in rows if one != other] or [("p", "a", "b")]
    prompts, first, second = (list(column) for column in zip(*rows, strict=True))
    for judge in (longer, always_first):
        one, other = win_rate(prompts, first, second, judge), win_rate(prompts, second, first, judge)
        assert one.values == pytest.approx(1 - other.values, abs=1e-12)
        assert one.value + other.value == pytest.approx(1, abs=1e-12)
        assert (one.wins, one.ties) == (other.losses, other.ties)


@given(st.integers(0, 100))
def test_a_consistent_judge_does_not_depend_on_the_seed(seed: int) -> None:
    prompts, first, second = ["p", "q", "r"], ["aaa", "a", "aa"], ["b", "bb", "bb"]
    assert win_rate(prompts, first, second, longer, seed=seed).values.tolist() == [1, 0, 0.5]


def test_other_rows_do_not_change_the_order_of_one() -> None:
    prompts, first, second = columns(50)
    everything = win_rate(prompts, first, second, always_first)
    part = win_rate(prompts[20:], first[20:], second[20:], always_first)
    assert everything.values[20:].tolist() == part.values.tolist()


def test_preference_vs_reference_is_the_win_rate_against_the_reference() -> None:
    prompts, outputs, references = ["p", "q", "r"], ["aaa", "aa", "a"], ["b", "bb", "bbb"]
    pvr = preference_vs_reference(prompts, outputs, references, longer)
    assert (pvr.value, pvr.wins, pvr.ties, pvr.losses) == (0.5, 1, 1, 1)


def test_the_interval_is_that_of_shares() -> None:
    prompts, first, second = [f"p{i}" for i in range(10)], ["aaa"] * 8 + ["a", "bb"], ["bb"] * 10
    rate = win_rate(prompts, first, second, longer)
    assert (rate.wins, rate.losses, rate.ties) == (8, 1, 1) and rate.ci == score_interval(rate.values)
    ties = win_rate(prompts, second, second, longer)
    # Ten ties: 0.5 ± z² / (2 (10 + z²))
    assert ties.stderr == 0 and ties.ci == pytest.approx((0.3612, 0.6388), abs=5e-5)


@pytest.mark.parametrize("answer", [0, 3, "1", True, math.nan, [1]])
def test_answers_that_are_none(answer: Any) -> None:
    with pytest.raises(JudgeError, match=r"on row 1, prompt 'p1'; it must answer 1"):
        win_rate(*columns(2), lambda prompts, first, second: [1, answer])


def test_bad_judges_and_columns() -> None:
    with pytest.raises(JudgeError, match="3 answers to 2 comparisons"):
        win_rate(*columns(2), lambda prompts, first, second: [1, 1, 1])
    with pytest.raises(JudgeError, match="none of 2 comparisons"):
        win_rate(*columns(2), lambda prompts, first, second: [None, None])
    with pytest.raises(DataError, match="2 prompts, 1 outputs and 2 references"):
        preference_vs_reference(["p", "q"], ["a"], ["b", "c"], longer)
    with pytest.raises(DataError, match="no prompts"):
        win_rate([], [], [], longer)
    with pytest.raises(DataError, match="second, row 1 is None"):
        win_rate(["p", "q"], ["a", "b"], ["c", None], longer)  # type: ignore[list-item]
    with pytest.raises(DataError, match="prompts is 'p'"):
        win_rate("p", ["a"], ["b"], longer)


def test_lone_surrogates_in_outputs() -> None:
    assert win_rate(["p\udc00"], ["\ud800a"], ["b"], longer).value == 1
