"""DivPO: which completions of a group make a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods import DivPO, get_method
from genrlhf.trainers import Completion, Group
from tests.helpers import EOS_ID, tiny_tokenizer
from tests.trainers.runs import QUIET, prompt_rows, share_of_letters
from tests.trainers.test_best_of_n import fond_of

TEXTS = ["a", "a", "b", "c", "c", "c", "d", "e"]
GOOD = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def group(texts: list[str] = TEXTS, rewards: list[float] = GOOD, **given: Any) -> Group:
    return Group("q", [Completion(text, True, [5 + i]) for i, text in enumerate(texts)], rewards=rewards, **given)


def by_letter(sets: Any) -> list[list[int]]:
    return [[ord(text[0]) for text in texts] for texts in sets]


def pair(transform: DivPO, *groups: Group) -> list[tuple[str, str]]:
    return [(row["chosen"].text, row["rejected"].text) for row in transform(list(groups)).rows]


def test_the_rarest_good_one_is_preferred_to_the_commonest_bad_one() -> None:
    assert pair(DivPO(classes=by_letter), group()) == [("b", "c")]
    logprobs = [[-1.0, -1.0], [-9.0], [-2.0] * 3, [-0.1], [-7.0], [-1.0], [-0.05] * 4, [-3.0]]
    drawn = group(logprobs=logprobs)
    by_mean, by_sum = DivPO(), DivPO(normalise="sum")
    assert by_mean.diversity == "probability"
    assert [(row["chosen"].token_ids, row["rejected"].token_ids) for row in by_mean([drawn]).rows] == [([6], [11])]
    assert [(row["chosen"].token_ids, row["rejected"].token_ids) for row in by_sum([drawn]).rows] == [([6], [8])]

    def encode(texts: list[str]) -> Any:
        return np.array([[np.cos(ord(text)), np.sin(ord(text))] for text in texts])

    vectors = encode(TEXTS)
    distance = [float(np.mean([1 - vectors[i] @ vectors[j] for j in range(8) if j != i])) for i in range(8)]
    ((chosen, rejected),) = pair(DivPO("distance", encode=encode), group())
    assert chosen == TEXTS[max(range(3), key=distance.__getitem__)]
    assert rejected == TEXTS[min(range(3, 8), key=distance.__getitem__)]


def test_what_is_good_goes_by_the_whole_round() -> None:
    by_class = DivPO(classes=by_letter)
    # A reward that is neither 0 nor 1, anywhere, makes shares of all groups: of eight the two best and the two worst.
    other = group(rewards=[0.5, 0.6, 0.1, 0.2, 0.8, 0.3, 0.4, 0.9])
    assert pair(by_class, group(), other)[1] == ("e", "c")
    assert pair(DivPO(classes=by_letter, good=0.6), other)[0][0] == "e"
    made = by_class([group(), group(rewards=[1.0] * 8), group(rewards=[0.0] * 8)])
    assert len(made.rows) == 1 and made.left_out["no good or no bad completion"] == 2
    # A reward that gives one text two values makes no pair of it.
    twins = Group("q", [Completion("a", True, [5]), Completion("a", True, [5])], rewards=[0.0, 1.0])
    assert by_class([twins]).left_out["chosen and rejected are alike"] == 1


def test_ties_go_by_the_seed_and_the_row_alone() -> None:
    alike = DivPO(classes=lambda sets: [list(range(len(texts))) for texts in sets])
    groups = [group(seed=3, row=row) for row in range(60)]
    found = pair(alike, *groups)
    assert found == pair(alike, *groups)
    # Where all are as rare, any good one is preferred to any bad one.
    assert {chosen for chosen, _ in found} == {"a", "b"} and {rejected for _, rejected in found} == {"c", "d", "e"}
    assert found != pair(alike, *[group(seed=4, row=row) for row in range(60)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 0.6}, r"share is 0\.6; it must be above 0, and at most 0\.5, or good and bad overlap"),
        ({"share": 0.0}, r"share is 0\.0"),
        ({"diversity": "luck"}, "diversity is 'luck'; it must be one of frequency, distance, probability, auto"),
        ({"normalise": "max"}, "normalise is 'max'"),
        ({"diversity": "frequency"}, "diversity='frequency' needs classes"),
        ({"diversity": "distance"}, "diversity='distance' needs encode"),
        ({"good": 0.5, "bad": 0.6}, r"bad is 0\.6 and good 0\.5, which overlap"),
        ({"bad": 0.6}, r"bad is 0\.6 and good None"),
        ({"classes": "ExactClasses"}, "classes is 'ExactClasses'; give a function, or where one is"),
        ({"classes": "nowhere:f"}, "classes='nowhere:f' cannot be loaded"),
        ({"classes": 3}, "classes is a int, which cannot be called"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DivPO(**given)


def test_what_cannot_be_divided() -> None:
    with pytest.raises(DataError, match=r"By frequency d of the 8 completions of row 4, the prompt 'q', is \[1\.0\]"):
        DivPO(classes=lambda sets: [[0] for _ in sets])([group(row=4)])
    with pytest.raises(DataError, match=r"By probability d of .* is \[\]; it must be finite, one for each"):
        DivPO()([group()])
    with pytest.raises(DataError, match="By distance d of .* nan"):
        DivPO("distance", encode=lambda texts: np.zeros((len(texts), 2)))([group()])
    method = get_method("divpo")
    for settings, message in (({"n": 1}, "and n is 1; give at least 2"), ({}, "set keep_logprobs=True")):
        with pytest.raises(ConfigError, match=message):
            method.check_settings(method.config_class()("x", use_cpu=True, **settings), DivPO())


def test_a_round_is_tuned_on_its_pairs(tmp_path: Path) -> None:
    method = get_method("divpo")
    settings = {**method.recipe, "n": 4, "max_new_tokens": 4, "max_steps": 1}
    args = method.config_class()(str(tmp_path), **{**QUIET, **settings})
    place = "genrlhf.metrics:ExactClasses"
    trainer = method.build(
        fond_of({EOS_ID: 4.0}),
        args,
        prompt_rows(6),
        reward=share_of_letters,
        settings=DivPO(classes=place),
        processing_class=tiny_tokenizer(),
    )
    assert trainer.train().global_step == 1 and trainer.tune == "pairwise"
