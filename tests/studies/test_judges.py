"""Judges that run a model here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import ModelError
from genrlhf.metrics.preference import AnswerStore, judge_comparisons, judge_template
from genrlhf.rewards import load_reward
from genrlhf.studies.judges import LocalJudge, RewardModelJudge
from genrlhf.types import SamplingParams
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.metrics.preference.judging.chat_server import fenced


def test_a_reward_model_prefers_what_it_scores_higher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = str(save_model(tiny_reward_model(), tiny_tokenizer(), tmp_path))
    prompts, first, second = ["a b", "c d", "e", "f"], ["g", "h i", "j", "k"], ["l m", "n", "o p", "k"]
    reward = load_reward(folder)
    scores = list(zip(reward(prompts, first), reward(prompts, second), strict=True))
    expected = [1.0 if one > other else 2.0 if other > one else 1.5 for one, other in scores]
    assert expected[3] == 1.5 and {1.0, 2.0} <= set(expected)
    assert RewardModelJudge(folder)(prompts, first, second) == expected
    with pytest.raises(ModelError):
        RewardModelJudge(tiny_llama())


class Scripted:
    """A sampler that says which text is longer, once for each conversation that it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.params: list[SamplingParams] = []

    def sample(self, prompts: Sequence[Any], n: int, params: SamplingParams, seed: int) -> list[list[str]]:
        assert n == 1
        self.asked += prompts
        self.params.append(params)
        replies = []
        for conversation in prompts:
            first, second = fenced(conversation[-1]["content"])[1:]
            replies.append(["m" if len(first) >= len(second) else "M"])
        return replies

    def stream(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def test_a_local_model_is_asked_once(tmp_path: Path) -> None:
    store, calls = AnswerStore(tmp_path / "s.sqlite"), []
    template = judge_template("news", "letter")
    sampler = Scripted()
    judge = LocalJudge(sampler, template, store=store, name="one", progress=lambda: calls.append(1))
    prompts = [f"p{i}" for i in range(70)]
    columns = (prompts, ["aa"] * 70, ["b" * (i % 4) for i in range(70)])
    judged = judge_comparisons(*columns, judge, order="both")
    # Of equal lengths the first one shown wins, in both orders.
    expected = [1.0 if i % 4 < 2 else 1.5 if i % 4 == 2 else 2.0 for i in range(70)]
    assert [one.preference for one in judged.comparisons] == expected
    assert len(sampler.asked) == 140 == judge.answered == len(calls)
    assert {(params.temperature, params.max_new_tokens) for params in sampler.params} == {(0, 4)}
    again = LocalJudge(sampler, template, store=store, name="one")
    assert judge_comparisons(*columns, again, order="both") == judged
    assert (again.answered, again.stored, len(sampler.asked)) == (0, 140, 140)
    other = LocalJudge(sampler, template, store=store, name="two")
    judge_comparisons(*columns, other)
    assert other.answered == 70
