"""A judge made from a score."""

from __future__ import annotations

import math

import pytest

from genrlhf.errors import RewardError
from genrlhf.metrics.preference import ScoreJudge


def test_the_higher_score_wins_in_one_call() -> None:
    calls: list[tuple[list[str], list[str]]] = []

    def score(prompts: list[str], completions: list[str]) -> list[float]:
        calls.append((prompts, completions))
        return [text.count("a") - len(prompt) for prompt, text in zip(prompts, completions, strict=True)]

    assert ScoreJudge(score)(("p", "qq", "r"), ("aa", "", "ab"), ("a", "a", "ba")) == [1, 2, 1.5]
    assert calls == [(["p", "qq", "r", "p", "qq", "r"], ["aa", "", "ab", "a", "a", "ba"])]


def test_bad_scores() -> None:
    with pytest.raises(RewardError, match="3 values for 4 completions"):
        ScoreJudge(lambda prompts, completions: [0.0] * 3)(["p", "q"], ["a", "b"], ["c", "d"])
    with pytest.raises(RewardError, match="completion 'd' of prompt 'q' is nan"):
        ScoreJudge(lambda prompts, completions: [0.0, 0.0, 0.0, math.nan])(["p", "q"], ["a", "b"], ["c", "d"])
