from __future__ import annotations

import pytest
import torch

from genrlhf.errors import ShapeError
from genrlhf.ops import first_best, ranking_loss


def problem(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Eleven completions of three groups, some of equal rewards."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(11, generator=generator, dtype=torch.float64)
    rewards = torch.randint(0, 3, (11,), generator=generator).double()
    return scores, rewards, torch.tensor([0] * 4 + [1] * 5 + [2] * 2)


@pytest.mark.parametrize("seed", range(5))
def test_is_the_sum_over_pairs(seed: int) -> None:
    scores, rewards, groups = problem(seed)
    expected = [0.0] * 3
    for i in range(11):
        for j in range(11):
            if groups[i] == groups[j] and rewards[i] < rewards[j]:
                expected[int(groups[i])] += max(0.0, float(scores[i] - scores[j]))
    assert ranking_loss(scores, rewards, groups, 3).tolist() == pytest.approx(expected, abs=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    scores, rewards, groups = problem()
    assert torch.autograd.gradcheck(lambda s: ranking_loss(s, rewards, groups, 3), scores.requires_grad_(True))


def test_order_alone_counts() -> None:
    scores, rewards, groups = problem()
    loss = ranking_loss(scores, rewards, groups, 3)
    assert torch.equal(loss, ranking_loss(scores, (3 * rewards).exp() - 7, groups, 3))
    mixed = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(loss, ranking_loss(scores[mixed], rewards[mixed], groups[mixed], 3), atol=1e-12)
    assert ranking_loss(scores, torch.ones(11), groups, 3).tolist() == [0, 0, 0]
    # Scores in the order of the rewards cost nothing.
    assert ranking_loss(rewards, rewards, groups, 3).tolist() == [0, 0, 0]


def test_best_is_the_first_of_equal_ones() -> None:
    rewards, groups = torch.tensor([1.0, 2.0, 2.0, -5.0, -5.0]), torch.tensor([0, 0, 0, 1, 1])
    assert first_best(rewards, groups, 2).tolist() == [1, 3]


def test_other_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\), \(3,\), \(2,\); want \(N,\) each"):
        ranking_loss(torch.zeros(2), torch.zeros(3), torch.zeros(2, dtype=torch.int64), 1)
