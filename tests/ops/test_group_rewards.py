"""Rewards of groups against loops, and their identities."""

from __future__ import annotations

import math

import pytest
import torch

from genrlhf.errors import ConfigError, DataError, ShapeError
from genrlhf.ops import (
    class_sizes,
    determinant_gains,
    distinct_rewards,
    shared_rewards,
    shifted_above_zero,
    uniqueness_weights,
)
from genrlhf.ops.group_rewards import check_power

CLASSES = torch.tensor([[0, 1, 0, 2, 0], [3, 3, 3, 3, 3], [0, 1, 2, 3, 4]])
REWARDS = torch.tensor([[1.0, 0.5, 0.0, 2.0, 1.5], [1.0, 2.0, 3.0, 4.0, 5.0], [0.1, 0.2, 0.3, 0.4, 0.5]]).double()


def directions(groups: int, n: int, width: int) -> torch.Tensor:
    made = torch.randn(groups, n, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(made, dim=-1)


def test_by_loops() -> None:
    for row, (labels, rewards) in enumerate(zip(CLASSES.tolist(), REWARDS.tolist(), strict=True)):
        sizes = [labels.count(label) for label in labels]
        assert class_sizes(CLASSES)[row].tolist() == sizes
        others = [[label for j, label in enumerate(labels) if j != i] for i in range(5)]
        shares = [sum(other != labels[i] for other in others[i]) / 4 for i in range(5)]
        expected = [reward * share for reward, share in zip(rewards, shares, strict=True)]
        assert distinct_rewards(REWARDS, CLASSES)[row].tolist() == pytest.approx(expected, abs=1e-14)
        expected = [reward * max(share, 0.1) for reward, share in zip(rewards, shares, strict=True)]
        assert distinct_rewards(REWARDS, CLASSES, floor=0.1)[row].tolist() == pytest.approx(expected, abs=1e-14)
        expected = [reward / size**0.5 for reward, size in zip(rewards, sizes, strict=True)]
        assert shared_rewards(REWARDS, CLASSES, power=0.5)[row].tolist() == pytest.approx(expected, abs=1e-14)
        raw = [1 / size**2 for size in sizes]
        expected = [weight / (sum(raw) / 5) for weight in raw]
        assert uniqueness_weights(CLASSES, power=2)[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_all_the_same_and_all_different() -> None:
    same, different = torch.zeros(3, 5, dtype=torch.int64), torch.arange(15).view(3, 5)
    assert not distinct_rewards(REWARDS, same).any()
    assert torch.equal(distinct_rewards(REWARDS, different), REWARDS)
    assert torch.allclose(shared_rewards(REWARDS, same, power=2), REWARDS / 25, atol=1e-14)
    assert torch.equal(shared_rewards(REWARDS, different), REWARDS)
    for classes in (same, different):
        assert torch.equal(uniqueness_weights(classes), torch.ones(3, 5))
    assert torch.allclose(determinant_gains(torch.ones(1, 4, 4)), torch.tensor(math.log(5 / 4)).double(), atol=1e-6)
    assert torch.allclose(determinant_gains(torch.eye(4)[None]), torch.tensor(math.log(2)).double(), atol=1e-7)


@pytest.mark.parametrize("function", [distinct_rewards, shared_rewards])
def test_order_and_names_of_classes_do_not_matter(function: object) -> None:
    order = torch.tensor([3, 0, 4, 2, 1])
    found = function(REWARDS, CLASSES)  # type: ignore[operator]
    assert torch.equal(function(REWARDS[:, order], 7 - CLASSES[:, order]), found[:, order])  # type: ignore[operator]


@pytest.mark.parametrize("width", [3, 40])
def test_determinants_by_brute_force(width: int) -> None:
    units = directions(3, 6, width)
    kernel = units @ units.mT
    found = determinant_gains(kernel)
    for i in range(6):
        rest = [j for j in range(6) if j != i]
        whole = torch.linalg.slogdet(kernel + torch.eye(6)).logabsdet
        without = torch.linalg.slogdet(kernel[:, rest][:, :, rest] + torch.eye(5)).logabsdet
        assert torch.allclose(found[:, i], whole - without, atol=1e-12)
    order = torch.tensor([5, 3, 0, 1, 4, 2])
    assert torch.allclose(determinant_gains(kernel[:, order][:, :, order]), found[:, order], atol=1e-12)
    # Half precision's rounding of embeddings is no error.
    halves = (units.half() @ units.half().mT).double()
    assert torch.allclose(determinant_gains(halves), found, atol=1e-2)


def test_rewards_below_zero_are_shifted() -> None:
    rewards = torch.tensor([[-1.0, 0.0, 3.0], [1.0, 2.0, 3.0]])
    assert shifted_above_zero(rewards).tolist() == [[0.0, 1.0, 4.0], [1.0, 2.0, 3.0]]


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="two completions or more"):
        distinct_rewards(torch.ones(3, 1), torch.zeros(3, 1, dtype=torch.int64))
    with pytest.raises(ShapeError, match="want the same"):
        shared_rewards(torch.ones(3, 2), torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"similarity is \(2, 3\)"):
        determinant_gains(torch.ones(2, 3))
    broken = torch.ones(2, 3, 3)
    broken[1, 0, 2] = torch.nan
    with pytest.raises(DataError, match="of group 1 is not finite"):
        determinant_gains(broken)
    with pytest.raises(DataError, match="depends on their order"):
        determinant_gains(torch.tensor([[[1.0, 0.5], [0.4, 1.0]]]))
    with pytest.raises(DataError, match="group 0 are no kernel"):
        determinant_gains(torch.tensor([[[1.0, 5.0], [5.0, 1.0]]]))
    for power in (-1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="power is"):
            check_power(power)
