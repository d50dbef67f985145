"""What says which outputs are right in a study, and what is measured of them."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.data.tasks.open_ended.task import load_open_ended
from genrlhf.errors import ConfigError, DataError
from genrlhf.studies.stages.solutions import checker_of, solution_figures

ROWS = [
    {"prompt": "a", "outputs": ["1", "2", "2 ", "x"]},
    {"prompt": "b", "outputs": ["x", "x", "x", "x"]},
    {"prompt": "c", "outputs": ["1"]},
]


def digits(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(text.strip().isdigit()) for text in completions]


def test_figures_by_hand() -> None:
    checker = checker_of(digits, None)
    assert checker is not None
    found = solution_figures(ROWS, checker)
    # Three of four, none of four; the third input has too few outputs.
    assert found["verdicts"] == {"right": [3, 0], "outputs": 4}
    values = {k: each.value for k, each in found["pass_at_k"].items()}
    assert values == {"1": 0.375, "2": 0.5, "4": 0.5}
    assert found["solutions"]["distinct_valid"].value == 1.0  # "1" and "2"; nothing


def test_a_verifier_is_the_checker_by_default_and_knows_equal_answers() -> None:
    task = load_open_ended(families=["us_state"], n_demonstrations=4, n_prompts=4, n_validation=2, n_evaluation=4)
    checker = checker_of("auto", task.gold)
    assert checker is not None
    prompt = task.evaluation["id"][0]["prompt"]
    rows = [{"prompt": prompt, "outputs": [" Ohio\nQ: Name", " ohio.\n", " Paris", " Texas"]}]
    found = solution_figures(rows, checker)
    assert found["verdicts"] == {"right": [3], "outputs": 4} and found["solutions"]["distinct_valid"].value == 2
    # A score that says more than right or wrong is no verdict unless somebody says so.
    assert checker_of("auto", digits) is None and checker_of(None, task.gold) is None
    at_least = checker_of({"gold": 0.5}, lambda prompts, completions: [0.7, 0.2])
    assert at_least is not None and at_least(["a", "b"], ["c", "d"]) == [True, False]


def test_what_is_no_verdict_is_told() -> None:
    checker = checker_of("gold", lambda prompts, completions: [0.7])
    assert checker is not None
    with pytest.raises(DataError, match=r"score of an output for 'a' is 0\.7, neither right .* as in \{gold: 0\.5\}"):
        checker(["a"], ["b"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gold", "the task has no true score"),
        ("word", "give gold, package.module:function, or none"),
        (3, "checker is 3"),
        ({"gold": "high"}, "the least score of a right output is 'high'"),
        ({"a": 1, "b": 2}, "give a name and the least score"),
        ("no_such.module:f", "The checker 'no_such.module:f' cannot be loaded"),
    ],
)
def test_what_cannot_be_a_checker(given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checker_of(given, None)
