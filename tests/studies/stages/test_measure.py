"""Figures of a method from hand-made outputs."""

from __future__ import annotations

import pytest

from genrlhf.metrics import DistinctN
from genrlhf.metrics.preference import ScoreJudge
from genrlhf.studies.stages.measure import kl_bound, measure, scores


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
    figures = measure(OUTPUTS, metrics=[DistinctN(1)], judge=ScoreJudge(length), gold=lambda p, c: [1.0] * len(c))
    assert figures["pvr"]["id"].value == pytest.approx(2 / 3)
    assert figures["pvr"]["ood"].value == pytest.approx(0.25)
    assert figures["gap"].value == pytest.approx(2 / 3 - 0.25) and figures["gaps"] == {"ood": figures["gap"]}
    assert scores(OUTPUTS, length)["id"].value == pytest.approx(7 / 3)
    assert figures["gold"]["ood"].value == 1.0
    # per input: 2 of 4 words distinct, 4 of 4; the input with one output is left out
    per_input = figures["diversity"]["per_input"]["distinct_n"]
    assert (per_input.value, per_input.n) == (0.75, 2)
    # across: "a b", "a c", "a": 3 of 5
    assert figures["diversity"]["across_input"]["distinct_n"].value == pytest.approx(0.6)


def test_without_judge_and_gold_their_figures_are_left_out() -> None:
    assert set(measure(OUTPUTS, metrics=[], judge=None, gold=None)) == {"diversity"}


def test_without_references_there_is_no_pvr() -> None:
    bare = {
        name: [{"prompt": row["prompt"], "outputs": row["outputs"]} for row in rows] for name, rows in OUTPUTS.items()
    }
    assert set(measure(bare, metrics=[], judge=ScoreJudge(length), gold=None)) == {"diversity"}


def test_single_outputs_have_no_diversity_of_an_input() -> None:
    single = {"id": [{**row, "outputs": row["outputs"][:1]} for row in OUTPUTS["id"]]}
    diversity = measure(single, metrics=[DistinctN(1)], judge=None, gold=None)["diversity"]
    assert diversity["per_input"] == {} and set(diversity["across_input"]) == {"distinct_n"}


def test_the_bound_of_best_of_n() -> None:
    # log 4 − 3/4
    assert kl_bound(4, 7).value == pytest.approx(0.636294, abs=1e-6)
    assert (kl_bound(1, 7).value, kl_bound(1, 7).ci, kl_bound(1, 7).n) == (0.0, (0.0, 0.0), 7)


def conversation(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_conversations_are_scored_as_they_are_and_judged_as_texts() -> None:
    rows = [
        {"prompt": conversation("p"), "outputs": ["a b"], "reference": "x"},
        {"prompt": [{"role": "system", "content": "s"}, *conversation("q")], "outputs": ["a"], "reference": "bb"},
    ]
    seen: list[object] = []

    def scored(prompts: list[object], completions: list[str], **columns: object) -> list[float]:
        seen.extend(prompts)
        return length([], completions)

    def judge(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
        seen.extend(prompts)
        return [1.5] * len(first)

    found = measure({"id": rows}, metrics=[], judge=ScoreJudge(scored), gold=None)
    assert found["pvr"]["id"].values.tolist() == [1.0, 0.0]
    assert all(isinstance(prompt, list) for prompt in seen)
    seen.clear()
    assert measure({"id": rows}, metrics=[], judge=judge, gold=None)["pvr"]["id"].value == 0.5
    assert seen == ["p", "system: s\n\nuser: q"]
