"""Texts that begin alike are scored as each is alone, in whichever family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from genrlhf.models import score_batch
from genrlhf.models.families import SHARED_PREFIX_FAMILIES
from genrlhf.models.shared_prompts import (
    SharedPrompt,
    plan_scoring,
    score_behind_prompts,
    shares_prompts,
)
from genrlhf.rewards import ModelReward
from tests.decoders.configs import DECODERS, build_classifier, known
from tests.helpers import EOS_ID, PAD_ID, tiny_reward_model, tiny_tokenizer

FAMILIES = [
    known(name)
    for name in sorted(SHARED_PREFIX_FAMILIES & MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.keys())
    if name in DECODERS
]
"""Those that have a classifier in transformers."""

GROUPS = [
    SharedPrompt([7, 9, 30, 31, 32, 40, 41], [[50, 51, EOS_ID], [EOS_ID], [60, 61, 62, 63, EOS_ID]], [0, 1, 2]),
    SharedPrompt([99, 12], [[50, EOS_ID], [70, 71, EOS_ID]], [3, 4]),
]


def alone(model: Any, ids: list[int]) -> float:
    return score_batch(model, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)).item()


@pytest.mark.parametrize("family", FAMILIES)
def test_behind_a_shared_prompt_a_text_has_its_own_score(family: str) -> None:
    model: Any = build_classifier(family)
    if not shares_prompts(model, PAD_ID):
        assert getattr(model.config, "sliding_window", None) is not None
        return
    expected = [alone(model, group.prefix + rest) for group in GROUPS for rest in group.rests]
    found = score_behind_prompts(model, GROUPS, PAD_ID)
    assert found.tolist() == pytest.approx(expected, abs=2e-5)
    assert len({round(value, 4) for value in expected}) == 5
    whole = [SharedPrompt([], [group.prefix + rest], []) for group in GROUPS for rest in group.rests]
    assert score_behind_prompts(model, whole, PAD_ID).tolist() == pytest.approx(expected, abs=2e-5)


def test_a_class_that_takes_no_cache_is_found_out_by_trying() -> None:
    model: Any = tiny_reward_model()
    forward = type(model).forward

    class Forgetful(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return forward(self, *args, **{**kwargs, "past_key_values": None})

    assert shares_prompts(model, PAD_ID)
    model.__class__ = Forgetful
    assert shares_prompts(model, PAD_ID)  # as remembered
    other: Any = tiny_reward_model()
    other.__class__ = Forgetful
    assert not shares_prompts(other, PAD_ID)


def test_texts_are_grouped_by_prompt_and_put_into_batches_by_length() -> None:
    start = list(range(10, 20))
    texts = [[*start, 1], [*start, 5, 1], [*start, 5, 6, 1], [3, 1], [4, 4, 4, 1]]
    prompts = ["a", "a", "a", "b", "c"]
    batches = list(plan_scoring(texts, prompts, batch_size=2, share=True))
    assert batches == [
        [SharedPrompt(start, [[1], [5, 1]], [0, 1])],
        [SharedPrompt(start, [[5, 6, 1]], [2])],
        [SharedPrompt([], [[3, 1]], [3]), SharedPrompt([], [[4, 4, 4, 1]], [4])],
    ]
    apart = list(plan_scoring(texts, prompts, batch_size=3, share=False))
    assert [[group.places[0] for group in batch] for batch in apart] == [[3, 4, 0], [1, 2]]
    assert not any(group.prefix for batch in apart for group in batch)


def test_a_text_that_is_all_of_what_others_begin_with_keeps_its_last_token() -> None:
    ids = list(range(10, 20))
    ((group,),) = plan_scoring([ids, [*ids, 1]], ["a", "a"], batch_size=9, share=True)
    assert (group.prefix, group.rests) == (ids[:-1], [[19], [19, 1]])


def test_what_begins_alike_goes_through_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen samples of two prompts, a third of them equal: prompts once, distinct completions once."""
    model: Any = tiny_reward_model()
    reward = ModelReward(model, tiny_tokenizer())
    prompts = ["a rather long prompt"] * 8 + ["another prompt, longer"] * 8
    completions = [" one", " two", " one", " three and four", " five", " one", " six", ""] * 2
    single = [reward([prompt], [text])[0] for prompt, text in zip(prompts, completions, strict=True)]
    seen: list[tuple[int, ...]] = []
    handle = model.model.register_forward_pre_hook(
        lambda _module, args, kwargs: seen.append(tuple((kwargs.get("input_ids", args and args[0])).shape)),
        with_kwargs=True,
    )
    found = reward(prompts, completions)
    handle.remove()
    assert found == pytest.approx(single, abs=1e-5)
    # The trial of the model came with the first texts that share something.
    assert seen[-2:] == [(2, 22), (12, 16)]
