"""Group-relative advantages against brute force and identities."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch

from genrlhf.errors import ConfigError, RewardError, ShapeError
from genrlhf.ops.group_advantages import (
    GROUP_ADVANTAGES,
    dr_grpo_advantages,
    grpo_advantages,
    maxrl_advantages,
    pass_at_k_advantages,
    rloo_advantages,
)

ESTIMATORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **{name: function for name, function in GROUP_ADVANTAGES.items() if name != "pass_at_k"},
    "pass_at_3": lambda rewards: pass_at_k_advantages(rewards, 3),
}


def every_binary_group(n: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def test_leave_one_out_by_hand() -> None:
    rewards = torch.tensor([[3.0, 1.0, -2.0, 0.5]], dtype=torch.float64)
    values = rewards[0].tolist()
    expected = [r - statistics.mean(values[:i] + values[i + 1 :]) for i, r in enumerate(values)]
    assert rloo_advantages(rewards)[0].tolist() == pytest.approx(expected, abs=1e-14)
    assert torch.allclose(dr_grpo_advantages(rewards), 3 / 4 * rloo_advantages(rewards), atol=1e-14)
    two = torch.tensor([[0.25, 2.0]])
    assert rloo_advantages(two).tolist() == [[-1.75, 1.75]]


def test_grpo_by_hand() -> None:
    values = [3.0, 1.0, -2.0, 0.5]
    expected = [(r - statistics.mean(values)) / (statistics.stdev(values) + 1e-4) for r in values]
    found = grpo_advantages(torch.tensor([values], dtype=torch.float64))
    assert found[0].tolist() == pytest.approx(expected, abs=1e-14)
    moved = grpo_advantages(7 * torch.tensor([values], dtype=torch.float64) - 2)
    assert torch.allclose(found, moved, atol=1e-4)


def test_maxrl_by_hand() -> None:
    rewards = torch.tensor([[1.0, 0.0, 1.0, 0.0, 0.0], [0.0] * 5, [2.0, 4.0, 0.0, 1.0, 3.0]])
    expected = [[1.5, -1.0, 1.5, -1.0, -1.0], [0.0] * 5, [0.0, 1.0, -1.0, -0.5, 0.5]]
    assert maxrl_advantages(rewards).tolist() == [pytest.approx(row) for row in expected]
    assert torch.allclose(maxrl_advantages(rewards), maxrl_advantages(0.125 * rewards))


@pytest.mark.parametrize(("p", "n"), [(0.5, 4), (0.05, 8), (0.2, 3)])
def test_maxrl_follows_the_series_of_the_log_likelihood(p: float, n: int) -> None:
    """Over all groups: E[1/n Σ_i A_i ∂ log π(y_i)] = Σ_{k<n} (1 − p)^(k−1) dp, that is d/dp of −Σ (1 − p)^k / k."""
    groups = every_binary_group(n)
    chance = p ** groups.sum(-1) * (1 - p) ** (n - groups.sum(-1))
    score = groups / p - (1 - groups) / (1 - p)
    found = float((chance * (maxrl_advantages(groups) * score).mean(-1)).sum())
    assert found == pytest.approx(sum((1 - p) ** (k - 1) for k in range(1, n)), rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_maxrl_is_what_a_completion_adds_to_subsets_of_the_others(n: int) -> None:
    """A_i + 1 = Σ_k E over k-subsets T of the others of max(T ∪ {i}) − max(T), each ∇ pass@(k+1) / (k+1).

    So the sum is the gradient of the series of log p; a group without a success says nothing.
    """
    groups = every_binary_group(n)
    for group, row in zip(groups.tolist(), maxrl_advantages(groups).tolist(), strict=True):
        for i in range(n):
            others = [group[j] for j in range(n) if j != i]
            added = 0.0
            for k in range(n):
                subsets = list(itertools.combinations(others, k))
                added += statistics.mean(max([*each, group[i]]) - max([*each, 0.0]) for each in subsets)
            assert row[i] == pytest.approx(added - 1 if any(group) else 0.0, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_pass_at_k_equals_brute_force_over_subsets(n: int) -> None:
    groups = every_binary_group(n)
    for k in range(1, n + 1):
        found = pass_at_k_advantages(groups, k)
        for group, row in zip(groups.tolist(), found.tolist(), strict=True):
            subsets = list(itertools.combinations(range(n), k))
            rewards = [max(group[i] for i in subset) for subset in subsets]
            mean, spread = statistics.mean(rewards), statistics.pstdev(rewards)
            for i in range(n):
                holding = [r for r, subset in zip(rewards, subsets, strict=True) if i in subset]
                expected = (statistics.mean(holding) - mean) / spread if spread else 0.0
                assert row[i] == pytest.approx(expected, abs=1e-12)


def test_pass_at_one_is_grpo_with_the_population_spread() -> None:
    groups = every_binary_group(6)[1:-1]
    spread = groups.std(-1, correction=0, keepdim=True)
    expected = (groups - groups.mean(-1, keepdim=True)) / spread
    assert torch.allclose(pass_at_k_advantages(groups, 1), expected, atol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_groups_sum_to_nothing_and_equal_rewards_give_nothing(name: str) -> None:
    groups = every_binary_group(5)
    found = ESTIMATORS[name](groups)
    assert found.sum(-1).abs().max() < 1e-12
    assert ESTIMATORS[name](torch.ones(2, 4)).abs().max() == 0
    order = torch.tensor([4, 2, 0, 1, 3])
    assert torch.allclose(ESTIMATORS[name](groups[:, order]), found[:, order], atol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_group_of_one(name: str) -> None:
    for shape in ((3, 1), (4,)):
        with pytest.raises(ShapeError, match=r"want \(prompts, completions of each\), at least two"):
            ESTIMATORS[name](torch.ones(shape))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: maxrl_advantages(torch.tensor([[0.5, -0.25]])), RewardError, "A reward is -0.25; maxrl"),
        (lambda: pass_at_k_advantages(torch.tensor([[0.5, 1.0]]), 1), RewardError, "A reward is 0.5; pass_at_k"),
        (lambda: pass_at_k_advantages(torch.tensor([[0.0, 1.0]]), 3), ConfigError, "k is 3, and there are 2"),
        (lambda: pass_at_k_advantages(torch.tensor([[0.0, 1.0]]), 0), ConfigError, "give 1 to 2"),
    ],
)
def test_what_an_estimator_cannot_use(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
