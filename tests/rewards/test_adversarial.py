"""A discriminator as a reward: its loss, what it refuses, and that it learns along with a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from genrlhf.errors import ConfigError, DataError
from genrlhf.rewards import AdversarialReward
from genrlhf.rewards.adversarial import discriminator_accuracy, discriminator_loss
from tests.helpers import tiny_gpt2, tiny_llama
from tests.trainers.runs import interrupted_and_whole, largest_difference, logged, ppo_trainer, weights

ROWS = Dataset.from_list([{"prompt": "q" + "x" * (n % 5), "completion": "abcd"[: 1 + n % 4]} for n in range(32)])
QUICK: dict[str, Any] = {"discriminator_warmup": 6, "discriminator_lr": 1e-3, "stop_accuracy": 1.0}


def test_loss_and_accuracy_by_hand() -> None:
    real, fake = torch.tensor([1.0, -0.5, 0.0]), torch.tensor([0.25, 0.5, 0.0])

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    pairs = list(zip(real.tolist(), fake.tolist(), strict=True))
    pairwise = [-math.log(sigmoid(a - b)) for a, b in pairs]
    assert discriminator_loss(real, fake).tolist() == pytest.approx(pairwise, abs=1e-6)
    pointwise = [-math.log(sigmoid(a)) - math.log(sigmoid(-b)) for a, b in pairs]
    assert discriminator_loss(real, fake, kind="pointwise").tolist() == pytest.approx(pointwise, abs=1e-6)
    swapped = [-math.log(sigmoid(b - a)) for a, b in pairs]
    mixed = [0.9 * a + 0.1 * b for a, b in zip(pairwise, swapped, strict=True)]
    assert discriminator_loss(real, fake, smoothing=0.1).tolist() == pytest.approx(mixed, abs=1e-6)
    # Samples that are the demonstrations: log 2, whatever D says of them.
    assert discriminator_loss(real, real).tolist() == pytest.approx([math.log(2)] * 3, abs=1e-6)
    assert discriminator_accuracy(real, fake) == pytest.approx((1 + 0 + 0.5) / 3)
    assert discriminator_accuracy(real, fake, kind="pointwise") == pytest.approx((1 + 0 + 0.5 + 0 + 0 + 0.5) / 6)


@pytest.mark.parametrize("kind", ["pairwise", "pointwise"])
def test_it_learns_is_kept_and_goes_on(kind: str, tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> Any:
        saving = {"save_strategy": "steps", "save_steps": 1, "num_rollouts": 3}
        return ppo_trainer(
            folder, reward=AdversarialReward(kind, **QUICK), train_dataset=ROWS, callbacks=callbacks, **saving
        )

    resumed, whole = interrupted_and_whole(make, tmp_path, 3)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    learnt = [run.collector.reward.function.model for run in (resumed, whole)]
    assert largest_difference(*map(weights, learnt)) == 0
    accuracies, scores = logged(whole, "reward/discriminator_accuracy"), logged(whole, "objective/scores")
    # Before it has learnt it has no opinion, and teaches nothing.
    assert accuracies[0] == 0.5 and scores[0] == 0 and accuracies[1] > 0.5 and scores[1] < 0
    assert all(abs(score) <= 2 for score in scores)
    # Nothing of it is the policy's.
    mine = {parameter.data_ptr() for parameter in learnt[1].parameters()}
    assert not mine & {parameter.data_ptr() for parameter in whole.policy.parameters()}


def test_swapping_demonstrations_and_samples_flips_the_reward(tmp_path: Path) -> None:
    reward = AdversarialReward(discriminator_lr=1e-3, discriminator_warmup=4)
    made = ppo_trainer(tmp_path, model=tiny_gpt2(), reward=reward, train_dataset=ROWS, num_rollouts=1)
    made.train()
    prompts, first, second = ["q", "qx"], ["abc", "b"], ["zz", "y"]
    one, other = reward(prompts, first, completion=second), reward(prompts, second, completion=first)
    assert one == pytest.approx([-value for value in other], abs=1e-6) and any(one)
    assert reward(prompts, first, completion=first) == pytest.approx([0, 0], abs=1e-6)


def test_what_it_refuses(tmp_path: Path) -> None:
    for setting, words in (
        ({"kind": "both"}, "kind is 'both'"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"discriminator_steps": -1}, "discriminator_steps is -1"),
        ({"label_smoothing": 0.5}, "label_smoothing is 0.5"),
        ({"stop_accuracy": 0.5}, "stop_accuracy is 0.5"),
    ):
        with pytest.raises(ConfigError, match=words):
            AdversarialReward(**setting)  # type: ignore[arg-type]
    for rows, words in (
        (ROWS.remove_columns("completion"), "has no column 'completion'"),
        (Dataset.from_list([{"prompt": "q", "completion": " "}]), "row 0: the demonstration is empty"),
        (Dataset.from_list([{"prompt": "q", "completion": "a" * 8}]), "has 8 tokens and EOS, and samples at most 8"),
    ):
        with pytest.raises(DataError, match=words):
            ppo_trainer(tmp_path, model=tiny_llama(), reward=AdversarialReward(), train_dataset=rows)
