"""Figures of a method from hand-made outputs."""

from __future__ import annotations

import pytest

from genrlhf.metrics import DistinctN
from genrlhf.metrics.preference import ScoreJudge
from genrlhf.studies.figures import measure_method


def length(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
    return [float(len(text)) for text in completions]


OUTPUTS = {
    "id": [
        {"prompt": "p", "outputs": ["a b", "a b"], "reference": "x"},
        {"prompt": "q", "outputs": ["a c", "d e"], "reference": "long reference"},
        {"prompt": "r", "outputs": ["a"], "reference": ""},
    ],
    "ood": [
        {"prompt": "s", "outputs": ["a"], "reference": "xx"},
        {"prompt": "t", "outputs": ["abcd"], "reference": "abcd"},
    ],
}


def test_figures_by_hand() -> None:
    figures = measure_method(
        OUTPUTS, reward=length, metrics=[DistinctN(1)], judge=ScoreJudge(length), gold=lambda p, c: [1.0] * len(c)
    )
    assert figures["pvr"]["id"].value == pytest.approx(2 / 3)
    assert figures["pvr"]["ood"].value == pytest.approx(0.25)
    assert figures["gap"].value == pytest.approx(2 / 3 - 0.25) and figures["gaps"] == {"ood": figures["gap"]}
    assert figures["reward"]["id"].value == pytest.approx(7 / 3)
    assert figures["gold"]["ood"].value == 1.0
    # per input: 2 of 4 words distinct, 4 of 4; the input with one output is left out
    per_input = figures["diversity"]["per_input"]["distinct_n"]
    assert (per_input.value, per_input.n) == (0.75, 2)
    # across: "a b", "a c", "a": 3 of 5
    assert figures["diversity"]["across_input"]["distinct_n"].value == pytest.approx(0.6)


def test_without_judge_and_gold_their_figures_are_left_out() -> None:
    figures = measure_method(OUTPUTS, reward=length, metrics=[], judge=None, gold=None)
    assert set(figures) == {"reward", "diversity"}
