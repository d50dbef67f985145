"""A reward model as a reward: every text its own score, whatever else is in the batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from genrlhf.errors import ConfigError, DataError
from genrlhf.rewards import Calibration, ModelReward, load_reward
from genrlhf.trainers import BestOfNConfig, BestOfNTrainer
from tests.helpers import EOS_ID, save_model, tiny_llama, tiny_reward_model, tiny_tokenizer

PROMPTS = ["a", "a longer prompt", "xy", "p" * 30, "b", "xy"]
COMPLETIONS = [" one", " 2", " the third one", " four", "", " 6"]


@torch.no_grad()
def scores_one_by_one(prompts: list[str] = PROMPTS) -> list[float]:
    """Score every text alone, from the hidden state at EOS."""
    model, tokenizer = tiny_reward_model(), tiny_tokenizer()
    scores = []
    for prompt, completion in zip(prompts, COMPLETIONS, strict=True):
        ids = torch.tensor([[*tokenizer(prompt + completion)["input_ids"], EOS_ID]])
        scores.append(float(model.model(input_ids=ids).last_hidden_state[0, -1] @ model.score.weight[0]))
    return scores


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_scores_do_not_depend_on_the_batch(batch_size: int) -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer(), batch_size=batch_size)
    expected = scores_one_by_one()
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    backwards = reward(PROMPTS[::-1], COMPLETIONS[::-1], subreddit=["x"] * 6)
    assert backwards == pytest.approx(expected[::-1], abs=1e-5)
    assert len({round(score, 3) for score in expected}) == 6


def test_answers_are_plain_floats() -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer())
    assert all(type(score) is float for score in reward(PROMPTS, COMPLETIONS))
    assert reward([], []) == []
    assert reward.name == "reward_model"


def test_long_texts_lose_the_start_of_the_prompt() -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer(), max_length=20)
    cut = [p[-(19 - len(c)) :] for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    assert cut[3] != PROMPTS[3]
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(scores_one_by_one(cut), abs=1e-5)


def test_model_is_frozen_and_takes_no_part_in_dropout() -> None:
    model = tiny_reward_model(attention_dropout=0.5).train()
    reward = ModelReward(model, tiny_tokenizer())
    assert not any(p.requires_grad for p in model.parameters())
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx(scores_one_by_one(), abs=1e-5)


def test_conversations() -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer(chat_template=True))
    conversation = [{"role": "user", "content": "hi"}]
    assert reward([conversation], ["yes"]) == pytest.approx(reward(["[user]hi\n[assistant]"], ["yes"]), abs=1e-6)


def words_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of words, with ids and an EOS unlike those of `tiny_tokenizer`."""
    words = ["<end>", "good", "bad", " ", "<none>", "<void>"]
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<none>"))
    backend.add_special_tokens([AddedToken(t, special=True) for t in ("<end>", "<none>", "<void>")])
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(" "), behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<void>", unk_token="<none>")


def words_model() -> Any:
    return tiny_reward_model(vocab_size=6, pad_token_id=5, eos_token_id=0)


@torch.no_grad()
def scores_of_ids(model: Any, rows: list[list[int]]) -> list[float]:
    return [float(model.model(torch.tensor([ids])).last_hidden_state[0, -1] @ model.score.weight[0]) for ids in rows]


def test_a_reward_model_has_a_tokenizer_of_its_own() -> None:
    """Texts reach it as text: here through a tokenizer of words, on a model with other ids and another EOS."""
    scores = ModelReward(words_model(), words_tokenizer())(["good", "bad"], [" bad", " good fine"])
    expected = scores_of_ids(words_model(), [[1, 3, 2, 0], [2, 3, 1, 3, 4, 0]])
    assert scores == pytest.approx(expected, abs=1e-5)


def test_a_reward_model_has_a_chat_template_of_its_own(tmp_path: Path) -> None:
    """Where the policy reads "[user]good", the reward model reads "good good", also for what the policy sampled."""
    tokenizer = words_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ 'good ' if message['role'] == 'user' else ' bad ' }}"
        "{{ message['content'] }}{% endfor %}"
    )
    folder = str(save_model(words_model(), tokenizer, tmp_path / "reward"))
    conversation = [{"role": "user", "content": "good"}]
    # "good good bad good": in each turn a word for the role, and its content.
    (expected,) = scores_of_ids(words_model(), [[1, 3, 1, 3, 2, 3, 1, 0]])
    assert load_reward(folder)([conversation], ["good"]) == pytest.approx([expected], abs=1e-5)

    trainer = BestOfNTrainer(
        model=tiny_llama(),
        reward=folder,
        args=BestOfNConfig(str(tmp_path / "run"), n=2, max_new_tokens=4, report_to="none", disable_tqdm=True),
        processing_class=tiny_tokenizer(chat_template=True),
    )
    (output,) = trainer.generate([conversation])
    samples = [[*words_tokenizer()("good good bad " + text).input_ids, 0] for text in output.samples]
    assert output.rewards == pytest.approx(scores_of_ids(words_model(), samples), abs=1e-5)


def test_gain_and_bias_are_one_and_zero_until_calibrated() -> None:
    model = tiny_reward_model()
    reward = ModelReward(model, tiny_tokenizer())
    assert (reward.gain, reward.bias) == (1.0, 0.0)
    scores = reward(PROMPTS, COMPLETIONS)
    model.config.genrlhf_reward_gain, model.config.genrlhf_reward_bias = 2.0, -0.5
    assert (reward.gain, reward.bias) == (2.0, -0.5)
    assert reward(PROMPTS, COMPLETIONS) == pytest.approx([2 * score - 0.5 for score in scores], rel=1e-12)


@pytest.mark.parametrize(("mean", "std"), [(0.0, None), (1.5, None), (0.0, 1.0), (-2.0, 0.25)])
def test_calibrated_rewards_have_this_mean_and_deviation(mean: float, std: float | None) -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer(), batch_size=4)
    scores = scores_one_by_one()
    calibration = reward.calibrate(PROMPTS, COMPLETIONS, mean=mean, std=std)
    assert calibration == (reward.gain, reward.bias)
    rewards = torch.tensor(reward(PROMPTS, COMPLETIONS), dtype=torch.float64)
    deviation = torch.tensor(scores, dtype=torch.float64).std(correction=0)
    assert float(rewards.mean()) == pytest.approx(mean, abs=1e-9)
    assert float(rewards.std(correction=0)) == pytest.approx(float(deviation) if std is None else std, rel=1e-5)
    assert (calibration.gain == 1) == (std is None)
    assert rewards.argsort().tolist() == torch.tensor(scores).argsort().tolist()


def test_calibrating_again_replaces_what_is_there() -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer())
    once = reward.calibrate(PROMPTS, COMPLETIONS, mean=1.0, std=3.0)
    assert reward.calibrate(PROMPTS, COMPLETIONS, mean=1.0, std=3.0) == once
    reward.calibrate(PROMPTS[:2], COMPLETIONS[:2])
    assert reward.calibrate(PROMPTS, COMPLETIONS, mean=1.0, std=3.0) == once


def test_conversational_completions_are_calibrated_on_too() -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer(chat_template=True))
    conversation = [{"role": "user", "content": "hi"}]
    text = reward.calibrate([conversation, conversation], ["yes", "no way"])
    turns = [[{"role": "assistant", "content": answer}] for answer in ("yes", "no way")]
    assert reward.calibrate([conversation, conversation], turns) == pytest.approx(text, abs=1e-6)


def test_a_calibration_that_fails_leaves_the_old_one() -> None:
    reward = ModelReward(tiny_reward_model(), tiny_tokenizer())
    before = reward.calibrate(PROMPTS, COMPLETIONS)
    for error, arguments, settings in (
        (ConfigError, (["found before any text is scored"], [None]), {"std": 0.0}),
        (DataError, ([], []), {}),
        (DataError, (["a", "a"], ["b", "b"]), {"std": 1.0}),
    ):
        with pytest.raises(error):
            reward.calibrate(*arguments, **settings)
    with torch.no_grad():
        reward.model.score.weight.fill_(math.nan)
    with pytest.raises(DataError, match="dataset, row 0: the reward model's score is nan"):
        reward.calibrate(PROMPTS, COMPLETIONS)
    assert Calibration(reward.gain, reward.bias) == before
