from __future__ import annotations

import math

import pytest
import torch

from genrlhf.errors import ShapeError
from genrlhf.ops import class_rarity, good_and_bad, mean_distance, rarest_pair, soft_preference_logits


def places(mask: torch.Tensor) -> list[int]:
    return mask.nonzero().flatten().tolist()


def test_shares_of_a_group_are_good_and_bad() -> None:
    rewards = torch.tensor([0.3, 0.9, 0.1, 0.5, 0.7, 0.2, 0.8, 0.6])
    good, bad = good_and_bad(rewards)
    assert (places(good), places(bad)) == ([1, 6], [2, 5])
    good, bad = good_and_bad(rewards, share=0.5)
    assert (places(good), places(bad)) == ([1, 4, 6, 7], [0, 2, 3, 5])
    # Any increasing map leaves both; ties belong to both ends alike, and to one alone.
    for mapped in (rewards**3, torch.exp(5 * rewards) - 7):
        assert [places(mask) for mask in good_and_bad(mapped, share=0.5)] == [places(good), places(bad)]
    assert [places(mask) for mask in good_and_bad(torch.tensor([0.0, 1.0, 1.0, 2.0]), share=0.5)] == [[1, 2, 3], [0]]
    assert [places(mask) for mask in good_and_bad(torch.ones(4))] == [[0, 1, 2, 3], []]


def test_thresholds_take_the_place_of_a_share() -> None:
    rewards = torch.tensor([0.0, 1.0, 0.5, 1.0])
    assert [places(mask) for mask in good_and_bad(rewards, good=1.0)] == [[1, 3], [0, 2]]
    assert [places(mask) for mask in good_and_bad(rewards, good=1.0, bad=0.5)] == [[1, 3], [0]]
    assert [places(mask) for mask in good_and_bad(torch.ones(3), good=1.0)] == [[0, 1, 2], []]


def test_rarity() -> None:
    assert class_rarity(torch.tensor([7, 3, 7, 7])).tolist() == pytest.approx([1 / 3, 1, 1 / 3, 1 / 3])
    vectors = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    # Cosines of the first: 1, 0, -1 with the others.
    assert mean_distance(vectors).tolist() == pytest.approx([1.0, 1.0, 1.0, 5 / 3], abs=1e-12)
    assert not mean_distance(torch.tensor([[0.0, 0.0], [1.0, 0.0]])).isfinite().all()
    for wrong in (torch.ones(3), torch.ones(1, 4)):
        with pytest.raises(ShapeError, match="want \\(n, d\\), of at least two"):
            mean_distance(wrong)
    with pytest.raises(ShapeError, match="want one"):
        soft_preference_logits(torch.ones(2), torch.ones(3), alpha=1.0, beta=1.0)


def test_a_copy_is_less_often_chosen_and_more_often_rejected() -> None:
    labels, good = torch.tensor([0, 1, 2, 3]), torch.tensor([True, True, False, False])
    order = torch.tensor([2, 0, 3, 1])
    assert rarest_pair(class_rarity(labels), good, ~good, order) == (0, 2)
    # With a copy of it, the first good one is not chosen; with a copy the last bad one is rejected.
    assert rarest_pair(class_rarity(torch.tensor([0, 1, 2, 0])), good, ~good, order) == (1, 3)
    assert rarest_pair(class_rarity(labels), good, good & ~good, order) is None
    # Where all are as rare, the order alone says which: each good and each bad one comes up.
    found = {rarest_pair(torch.ones(4), good, ~good, torch.randperm(4)) for _ in range(60)}
    assert found == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_the_optimum_of_soft_preference_learning() -> None:
    """Population loss over four answers: the closed form, and DPO sampled at the temperature α / β."""
    reference = torch.tensor([0.5, 0.3, 0.15, 0.05]).double().log()
    reward, beta = torch.tensor([1.0, 0.8, 0.9, 0.0]).double(), 0.1
    wins = torch.sigmoid(reward.unsqueeze(1) - reward.unsqueeze(0))
    gap = reference.unsqueeze(1) - reference.unsqueeze(0)
    for alpha, expected in (
        (0.1, (0.839, 0.068, 0.093, 0.000)),
        (0.3, (0.518, 0.224, 0.249, 0.009)),
        (1.0, (0.348, 0.271, 0.279, 0.102)),
    ):
        logits = reference.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([logits], max_iter=400, tolerance_grad=1e-14, tolerance_change=0.0)

        def loss(logits: torch.Tensor = logits, alpha: float = alpha, steps: torch.optim.LBFGS = optimizer) -> float:
            steps.zero_grad()
            margins = soft_preference_logits(logits.unsqueeze(1) - logits.unsqueeze(0), gap, alpha=alpha, beta=beta)
            value = -(wins * torch.nn.functional.logsigmoid(margins)).mean()
            value.backward()
            return float(value.detach())

        optimizer.step(loss)
        found = logits.detach().softmax(-1)
        closed = ((beta * reference + reward) / alpha).softmax(-1)
        assert torch.allclose(found, closed, atol=1e-6)
        assert found.tolist() == pytest.approx(expected, abs=6e-4)
        dpo = reference + reward / beta
        assert torch.allclose(closed, (dpo / (alpha / beta)).softmax(-1), atol=1e-12)
        assert math.isclose(float(found.sum()), 1.0)
