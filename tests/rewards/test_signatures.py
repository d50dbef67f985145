"""Rewards are called by keyword where their parameters have our names, by position where they have others."""

from __future__ import annotations

import asyncio
import functools
import operator
from typing import Any

import pytest
from torch import nn

from genrlhf.errors import RewardError
from genrlhf.rewards import WeightedReward, load_reward
from genrlhf.rewards.signatures import bind
from genrlhf.rewards.weighted import check_arguments

PROMPTS, COMPLETIONS, COLUMNS = ["p"], ["cc"], {"answer": ["a"], "source": ["s"]}


def what_arrives(*given: Any, **named: Any) -> list[Any]:
    return [(*given, named)]


class Judge:
    def __call__(self, completions: Any, prompts: Any) -> Any:
        return [(prompts, completions)]

    def method(self, completions: Any, answer: Any, prompts: Any = None) -> Any:
        return [(prompts, completions, answer)]

    @staticmethod
    async def later(completions: Any, **columns: Any) -> Any:
        await asyncio.sleep(0)
        return [(columns.pop("prompts"), completions, sorted(columns))]


def by_position(query: Any, reply: Any, **columns: Any) -> Any:
    return [(query, reply, sorted(columns))]


KINDS: list[tuple[Any, Any]] = [
    (lambda prompts, completions: [(prompts, completions)], (PROMPTS, COMPLETIONS)),
    (lambda completions, prompts=None, **rest: [(prompts, completions, sorted(rest))],
     (PROMPTS, COMPLETIONS, ["answer", "source"])),
    (lambda completions, answer: [(completions, answer)], (COMPLETIONS, ["a"])),
    (lambda completions, **rest: [(completions, sorted(rest))], (COMPLETIONS, ["answer", "prompts", "source"])),
    (lambda *, completions, answer: [(completions, answer)], (COMPLETIONS, ["a"])),
    (lambda queries, completions: [(queries, completions)], (PROMPTS, COMPLETIONS)),
    (lambda queries, /, completions: [(queries, completions)], (PROMPTS, COMPLETIONS)),
    (by_position, (PROMPTS, COMPLETIONS, ["answer", "source"])),
    (lambda query, reply: [(query, reply)], (PROMPTS, COMPLETIONS)),
    (lambda query, reply, /: [(query, reply)], (PROMPTS, COMPLETIONS)),
    (lambda query, reply, answer: [(query, reply, answer)], (PROMPTS, COMPLETIONS, ["a"])),
    (what_arrives, (PROMPTS, COMPLETIONS, COLUMNS)),
    (lambda **everything: [sorted(everything)], ["answer", "completions", "prompts", "source"]),
    (functools.partial(lambda scale, completions, prompts: [(scale, prompts, completions)], 3),
     (3, PROMPTS, COMPLETIONS)),
    (functools.partial(by_position, extra=1), (PROMPTS, COMPLETIONS, ["answer", "extra", "source"])),
    (Judge(), (PROMPTS, COMPLETIONS)),
    (Judge().method, (PROMPTS, COMPLETIONS, ["a"])),
    (Judge.later, (PROMPTS, COMPLETIONS, ["answer", "source"])),
]  # fmt: skip


@pytest.mark.parametrize(("reward", "right"), KINDS, ids=range(len(KINDS)))
def test_every_kind_of_function_gets_what_it_names(reward: Any, right: Any) -> None:
    assert load_reward(reward)(PROMPTS, COMPLETIONS, **COLUMNS) == [right]  # type: ignore[comparison-overlap]


def test_a_decorated_function_is_read_through_its_wrapper() -> None:
    def inner(completions: Any, prompts: Any) -> Any:
        return [(prompts, completions)]

    @functools.wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    assert load_reward(outer)(PROMPTS, COMPLETIONS) == [(PROMPTS, COMPLETIONS)]  # type: ignore[comparison-overlap]


def test_a_module_of_torch_is_read_by_what_it_hands_on_to() -> None:
    class Head(nn.Module):
        def forward(self, completions: Any, prompts: Any, answer: Any) -> Any:
            return [(prompts, completions, answer)]

    assert load_reward(Head())(PROMPTS, COMPLETIONS, **COLUMNS) == [(PROMPTS, COMPLETIONS, ["a"])]  # type: ignore[comparison-overlap]
    with pytest.raises(RewardError, match="The reward Head wants 'answer'"):
        check_arguments(load_reward(Head()), ["prompt"])


def test_what_has_no_signature_is_called_by_position() -> None:
    assert bind(operator.itemgetter, PROMPTS, COMPLETIONS, {}, name="f") == ([PROMPTS, COMPLETIONS], {})
    assert bind(dict.fromkeys, PROMPTS, COMPLETIONS, {}, name="f")[0] == [PROMPTS, COMPLETIONS]


def test_a_column_named_like_a_parameter_that_holds_texts_gives_way() -> None:
    reward = load_reward(lambda prompt, completion, **rest: [(prompt, completion, sorted(rest))])
    given = reward(PROMPTS, COMPLETIONS, completion=["gold"], other=[1])
    assert given == [(PROMPTS, COMPLETIONS, ["other"])]  # type: ignore[comparison-overlap]


def test_what_the_dataset_does_not_give_is_named_before_any_call() -> None:
    def wants_solutions(completions: Any, completion_ids: Any, ended: Any, solutions: Any) -> list[float]:
        raise AssertionError

    reward = WeightedReward([wants_solutions], [1.0])
    there = "'prompts', 'completions', 'completion_ids', 'ended', 'answer'"
    with pytest.raises(RewardError, match=f"wants 'solutions', and there are {there}"):
        check_arguments(reward, ["prompt", "answer"])
    check_arguments(reward, ["prompt", "solutions"])
    with pytest.raises(RewardError, match="wants 'texts'"):
        load_reward(lambda texts: [0.0])(PROMPTS, COMPLETIONS)


@pytest.mark.parametrize(
    "reward",
    [
        lambda completion, prompt: [1.0],
        lambda completion, reply, **rest: [1.0],
        lambda text, prompt_text: [1.0],
        functools.partial(lambda weight, completion, prompt: [weight], 2.0),
    ],
)
def test_names_of_the_other_place_are_refused(reward: Any) -> None:
    with pytest.raises(RewardError, match="'(completion|prompt_text)' where .* are given by position"):
        check_arguments(WeightedReward([reward], [1.0]), ["prompt"])
    assert load_reward(lambda prompt, completion: [(prompt, completion)])(PROMPTS, COMPLETIONS) == [
        (PROMPTS, COMPLETIONS)  # type: ignore[comparison-overlap]
    ]
