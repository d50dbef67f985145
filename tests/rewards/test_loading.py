"""From what a user passes as reward to something that can be called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import ConfigError, ModelError
from genrlhf.rewards import ModelReward, WeightedReward, load_reward
from tests.helpers import EOS, EOS_ID, PAD_ID, save_model, tiny_reward_model, tiny_tokenizer

PROMPTS, COMPLETIONS = ["ab", "a longer one"], [" c", " d"]


def length(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@torch.no_grad()
def expected(prompts: list[str] = PROMPTS) -> list[float]:
    model, tokenizer = tiny_reward_model(), tiny_tokenizer()
    rows = [[*tokenizer(p + c)["input_ids"], EOS_ID] for p, c in zip(prompts, COMPLETIONS, strict=True)]
    return [float(model.model(torch.tensor([ids])).last_hidden_state[0, -1] @ model.score.weight[0]) for ids in rows]


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_folder(as_path: Any, reward_model_folder: Path) -> None:
    reward = load_reward(as_path(reward_model_folder), batch_size=1)
    assert isinstance(reward, ModelReward)
    assert reward.batch_size == 1
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(expected(), abs=1e-5)


def test_a_module() -> None:
    model = tiny_reward_model()
    reward = load_reward(model, tokenizer=tiny_tokenizer())
    assert isinstance(reward, ModelReward)
    assert reward.model is model
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(expected(), abs=1e-5)
    with pytest.raises(ModelError, match="No tokenizer lies with the model"):
        load_reward(model)


def test_a_callable() -> None:
    assert load_reward(length)(PROMPTS, COMPLETIONS, subreddit=["x", "y"]) == [2.0, 2.0]


def test_texts_are_cut_at_the_models_context(reward_model_folder: Path) -> None:
    reward = load_reward(str(reward_model_folder))
    long = ["z" * 500, "a longer one"]
    assert reward(long, COMPLETIONS) == pytest.approx(expected(["z" * 61, "a longer one"]), abs=1e-5)


def test_a_model_whose_pad_is_eos_is_scored_at_eos(tmp_path: Path) -> None:
    model = tiny_reward_model(pad_token_id=EOS_ID)
    reward = load_reward(str(save_model(model, tiny_tokenizer(pad_token=EOS), tmp_path)))
    assert isinstance(reward, ModelReward)
    assert reward.model.config.pad_token_id == PAD_ID
    with torch.no_grad():
        tokenizer = tiny_tokenizer()
        rows = [[*tokenizer(p + c)["input_ids"], EOS_ID] for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
        at_eos = [model.score(model.model(torch.tensor([ids])).last_hidden_state[0, -1]).item() for ids in rows]
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(at_eos, abs=1e-5)


@pytest.mark.parametrize("container", [list, tuple])
def test_a_list_of_pairs_is_a_weighted_sum(container: Any, reward_model_folder: Path) -> None:
    reward = load_reward(container([(str(reward_model_folder), 2.0), [length, 1]]), batch_size=3)
    assert isinstance(reward, WeightedReward)
    assert reward.name == "2 reward_model + 1 length"
    inner = reward.rewards[0]
    assert isinstance(inner, ModelReward)
    assert inner.batch_size == 3
    by_hand = [2 * score + len(text) for score, text in zip(expected(), COMPLETIONS, strict=True)]
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(by_hand, abs=1e-5)


def test_lists_may_hold_lists() -> None:
    assert load_reward([([(length, 2.0)], 3.0)])(["p"], ["ab"]) == [12.0]


def test_modules_in_a_list_use_the_tokenizer_that_was_passed() -> None:
    reward = load_reward([(tiny_reward_model(), 1.0)], tokenizer=tiny_tokenizer())
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(expected(), abs=1e-5)


@pytest.mark.parametrize("nonsense", [3, None, {"a": 1}, object()])
def test_nonsense(nonsense: Any) -> None:
    with pytest.raises(ConfigError, match="reward must be a model name or folder, a module, a callable or a list of"):
        load_reward(nonsense)


@pytest.mark.parametrize(
    "item",
    [length, (length,), (length, "2"), (length, 1.0, 2.0), (length, None)],
    ids=["function", "no weight", "weight of text", "two weights", "weight None"],
)
def test_items_of_a_list_are_pairs(item: Any) -> None:
    with pytest.raises(ConfigError, match=r"^A list of rewards holds \(reward, weight\) pairs, not "):
        load_reward([item])


def test_an_empty_list() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        load_reward([])


def test_what_is_no_reward_model(causal_lm_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no trained score"):
        load_reward(str(causal_lm_folder))
    with pytest.raises(ModelError, match="There is no model at"):
        load_reward(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="2 labels"):
        load_reward(tiny_reward_model(num_labels=2), tokenizer=tiny_tokenizer())
