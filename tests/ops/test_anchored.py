"""Rewards that cancel the reference above a threshold: closed forms."""

from __future__ import annotations

import pytest
import torch

from genrlhf.errors import ConfigError
from genrlhf.ops import anchored_rewards

REFERENCE = torch.tensor([[0.4, 0.2, 0.05, 0.01, 0.3, 0.04]], dtype=torch.float64)
REWARDS = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)


def shaped(**given: object) -> torch.Tensor:
    options = {"threshold": 1.0, "kl_coef": 0.1, **given}
    return anchored_rewards(REWARDS, REFERENCE.log(), **options)  # type: ignore[arg-type]


def optimum(rewards: torch.Tensor, kl_coef: float = 0.1) -> torch.Tensor:
    return (REFERENCE.log() + rewards / kl_coef).softmax(-1)


def test_the_optimum_is_the_same_for_all_that_is_good() -> None:
    plain = optimum(REWARDS)[0].tolist()
    assert plain[:4] == pytest.approx([0.606, 0.303, 0.076, 0.015], abs=5e-4)
    assert optimum(shaped())[0].tolist() == pytest.approx([0.25] * 4 + [0.0] * 2, abs=1e-4)
    assert shaped()[0, 0] == 1.0 and torch.equal(shaped()[:, 4:], REWARDS[:, 4:])


def test_nothing_above_the_threshold_changes_nothing() -> None:
    assert torch.equal(shaped(threshold=2.0), REWARDS)
    assert torch.isfinite(shaped(threshold=2.0)).all()


def test_a_constant_cancels_and_a_limit_gives_back() -> None:
    moved = anchored_rewards(REWARDS, REFERENCE.log() - 7, threshold=1.0, kl_coef=0.1)
    assert torch.allclose(moved, shaped(), atol=1e-12)
    limited = shaped(max_nats=1.0)
    assert torch.allclose(limited[0, :4], 1 + 0.1 * (0.4 / REFERENCE[0, :4]).log().clamp(max=1), atol=1e-12)


def test_an_anchor_from_before() -> None:
    likelier = torch.tensor([[3.0, 0.0]], dtype=torch.float64)  # log 1
    found = shaped(anchors=likelier)
    assert torch.allclose(found[:, :4], 3 - 0.1 * REFERENCE.log()[:, :4], atol=1e-12)
    rarer = torch.tensor([[3.0, -5.0]], dtype=torch.float64)
    assert torch.equal(shaped(anchors=rarer), shaped())
    assert torch.equal(shaped(anchors=torch.tensor([[0.0, -torch.inf]], dtype=torch.float64)), shaped())


def test_without_a_penalty_there_is_nothing_to_take_back() -> None:
    with pytest.raises(ConfigError, match="kl_coef is 0"):
        shaped(kl_coef=0.0)
