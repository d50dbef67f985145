"""Methods of the rollout loop that look at a group, or at log-probabilities: what they hand to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from genrlhf.errors import ConfigError, GenRLHFError, RewardError
from genrlhf.methods import DQO, MARA, ClipCov, Darling, Frequency, KLCov, Uniqueness
from genrlhf.methods.alike import as_classes
from genrlhf.metrics import ExactClasses
from genrlhf.ops import grpo_advantages
from tests.trainers.runs import interrupted_and_whole, largest_difference, logged, ppo_trainer, weights

TEXTS = [["Ja", "ja ", "nein", "vielleicht"], ["да", "ДА", "нет", ""], ["ใช่", "ไม่", "", ""]]
REWARDS = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0], [-1.0, 1.0, 0.0, 0.0]])


def letters(texts: list[str]) -> list[list[float]]:
    """An encoder: is it empty, short, or long?"""
    return [[float(not text), float(0 < len(text) < 4), float(len(text) >= 4)] for text in texts]


def by_first_letter(sets: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[text[:1] for text in texts] for texts in sets]


def test_darling_and_shared_rewards_by_hand() -> None:
    assert Darling()(TEXTS, REWARDS).tolist() == [
        pytest.approx([2 / 3, 2 / 3, 1, 0]),
        pytest.approx([2 / 3, 0, 1, 1]),
        # One below 0: all of the group are one higher.
        pytest.approx([0, 2, 2 / 3, 2 / 3]),
    ]
    assert Frequency(1.0)(TEXTS, REWARDS).tolist() == [[0.5, 0.5, 1, 0], [0.5, 0, 1, 1], [0, 2, 0.5, 0.5]]
    assert torch.equal(Frequency(0.0)(TEXTS[:2], REWARDS[:2]), REWARDS[:2])
    own = Darling(classes=by_first_letter)([["ab", "ac", "b"]], torch.ones(1, 3))
    assert own.tolist() == [[0.5, 0.5, 1.0]]


def test_uniqueness_weighs_advantages() -> None:
    found = Uniqueness(1.0)(REWARDS[:1], TEXTS[:1])
    raw = [0.5, 0.5, 1.0, 1.0]
    expected = grpo_advantages(REWARDS[:1]) * torch.tensor([[weight / 0.75 for weight in raw]])
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(Uniqueness(0.0)(REWARDS, TEXTS), grpo_advantages(REWARDS))


def test_dqo_pays_for_what_spans() -> None:
    found = DQO(0.3, letters)([["aa", "bb", "long text"]], torch.ones(1, 3))
    pair, alone = (2 - 1 / 2), 2.0
    expected = [1 + 0.3 * math.log(pair)] * 2 + [1 + 0.3 * math.log(alone)]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)
    # Wrong ones get nothing, and take nothing from others.
    valid = DQO(0.3, letters, valid_at=1.0)([["aa", "bb", "long text"]], torch.tensor([[1.0, 0.0, 1.0]]))
    assert valid[0].tolist() == pytest.approx([1 + 0.3 * math.log(2), 0, 1 + 0.3 * math.log(2)], abs=1e-6)


def test_classes_by_name(tmp_path: Path) -> None:
    assert isinstance(as_classes("exact"), ExactClasses)
    assert as_classes("embedding:no-such-model") is as_classes("embedding:no-such-model")
    assert as_classes("tests.methods.test_group_methods:by_first_letter") is by_first_letter
    for wrong in ("same", "exact:model", ExactClasses, 3):
        with pytest.raises(ConfigError, match="classes"):
            as_classes(wrong)  # type: ignore[arg-type]
    with pytest.raises(RewardError, match="returned 1 lists"):
        Darling(classes=lambda sets: [[0, 1]])(TEXTS[:1], REWARDS[:1])  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Darling(floor=2.0), "floor is 2.0"),
        (lambda: Frequency(power=-1.0), "power is -1.0"),
        (lambda: Uniqueness(power=math.nan), "power is nan"),
        (lambda: DQO(alpha=0.0), "alpha is 0.0"),
        (lambda: MARA(threshold=math.inf), "threshold is inf"),
        (lambda: MARA(max_nats=0.0), "max_nats is 0.0"),
        (lambda: KLCov(share=2.0), "share is 2.0"),
        (lambda: KLCov(coef=-1.0), "coef is -1.0"),
        (lambda: ClipCov(low=5.0, high=1.0), "No covariance is above low"),
        (lambda: ClipCov(ratio_range=0.0), "ratio_range is 0.0"),
    ],
)
def test_settings_that_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape_reward": MARA(), "kl_coef": 0.0}, "kl_coef is 0: it would be an unbounded bonus"),
        ({"shape_reward": MARA(), "scale_scores": True}, "scale_scores=True rescales them"),
        ({"policy_loss": KLCov(), "num_ppo_epochs": 1}, "serves one update, at which its gradient is 0"),
        ({"group_reward": Darling(), "samples_per_prompt": 1, "advantage": "gae"}, "samples_per_prompt is 1"),
        ({"advantage_function": Uniqueness(), "samples_per_prompt": 1, "advantage": "gae"}, "samples_per_prompt is 1"),
    ],
)
def test_runs_that_cannot_be(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    given = {"samples_per_prompt": 4, "advantage": "dr_grpo", **options}
    with pytest.raises(GenRLHFError, match=words):
        ppo_trainer(tmp_path, **given)


def good(prompts: Any, completions: Sequence[str], **columns: Any) -> list[float]:
    return [float(completion < "m") for completion in completions]


def test_mara_keeps_its_anchors(tmp_path: Path) -> None:
    def make(folder: Path, callbacks: Any) -> Any:
        return ppo_trainer(
            folder,
            reward=good,
            shape_reward=MARA(),
            callbacks=callbacks,
            **{"samples_per_prompt": 4, "advantage": "dr_grpo", "save_strategy": "steps", "save_steps": 1},
        )

    resumed, whole = interrupted_and_whole(make, tmp_path, 3)
    assert largest_difference(weights(resumed.model), weights(whole.model)) == 0
    anchors = [run.collector.shaping.hooks.shape_reward.function.state_dict()["anchors"] for run in (resumed, whole)]
    assert anchors[0] == anchors[1] and 0 < len(anchors[0]) <= 5
    assert all(anchor[0] == 1.0 and anchor[1] < 0 for anchor in anchors[0].values())


def test_an_adaptive_weight_follows_the_entropy(tmp_path: Path) -> None:
    shared = {"num_rollouts": 3, "num_ppo_epochs": 1}
    for target, sign in ((100.0, 1), (1e-6, -1)):
        run = ppo_trainer(tmp_path / str(target), entropy_target=target, entropy_coef=0.01, **shared)
        run.train()
        found = logged(run, "objective/entropy_coef")
        assert found == pytest.approx([max(0.01 + sign * 0.005 * k, 0) for k in (1, 2, 3)], abs=1e-7)
        assert logged(run, "policy/entropy")
