"""Advantages of completions relative to the others of their prompt; no values are needed.

Shapes: G prompts with n completions each, (G, n). In every estimator the advantages of a group sum to 0, and equal
rewards give 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch

from genrlhf.errors import ConfigError, RewardError, ShapeError

__all__ = [
    "GROUP_ADVANTAGES",
    "dr_grpo_advantages",
    "grpo_advantages",
    "maxrl_advantages",
    "pass_at_k_advantages",
    "rloo_advantages",
]

GRPO_EPSILON = 1e-4


def rloo_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Return r_i − mean_{j ≠ i} r_j, (G, n).

    Ahmadian et al. 2024, "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in
    LLMs" (arXiv 2402.14740). Unbiased: the baseline of a completion does not depend on it.

    Args:
        rewards: (G, n) float, n ≥ 2.

    Raises:
        ShapeError: for groups of one.

    Example:
        >>> rloo_advantages(torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    n = _check_groups(rewards)
    return n / (n - 1) * (rewards - rewards.mean(-1, keepdim=True))


def dr_grpo_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Return r_i − m, m being the group's mean, (G, n): (n − 1) / n of `rloo_advantages`.

    Liu et al. 2025, "Understanding R1-Zero-Like Training: A Critical Perspective" (arXiv 2503.20783).

    Args:
        rewards: (G, n) float, n ≥ 2.

    Raises:
        ShapeError: for groups of one.
    """
    _check_groups(rewards)
    return rewards - rewards.mean(-1, keepdim=True)


def grpo_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Return (r_i − m) / (s + 10⁻⁴), m and s (with n − 1) being the group's mean and standard deviation, (G, n).

    Shao et al. 2024, "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models" (arXiv
    2402.03300); the 10⁻⁴ is TRL's.

    Args:
        rewards: (G, n) float, n ≥ 2.

    Raises:
        ShapeError: for groups of one.
    """
    _check_groups(rewards)
    return (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + GRPO_EPSILON)


def maxrl_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Return (r_i − m) / m, m being the group's mean, and 0 where m is 0, (G, n).

    MaxRL (arXiv 2602.02710). With rewards of 0 and 1 and a share p of successes, its expectation is the gradient of the
    series of log p, cut off at order n − 1: nearer to maximum likelihood, the more completions there are.

    Args:
        rewards: (G, n) float, n ≥ 2, none below 0.

    Raises:
        ShapeError: for groups of one.
        RewardError: for a reward below 0.

    Example:
        >>> maxrl_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        tensor([[ 3., -1., -1., -1.],
                [ 0.,  0.,  0.,  0.]])
    """
    _check_groups(rewards)
    if (rewards < 0).any():
        raise RewardError(
            f"A reward is {float(rewards.min()):.6g}; maxrl divides by a mean, which asks for rewards of 0 "
            "and above, such as a verifier's 0 and 1."
        )
    mean = rewards.mean(-1, keepdim=True)
    return torch.where(mean > 0, (rewards - mean) / mean.clamp(min=torch.finfo(rewards.dtype).tiny), 0.0)


def pass_at_k_advantages(rewards: torch.Tensor, k: int) -> torch.Tensor:
    """Return the advantages under which pass@k is maximised, (G, n).

    Chen et al. 2025, "Pass@k Training for Adaptively Balancing Exploration and Exploitation of Large Reasoning Models"
    (arXiv 2508.10751), in closed form: every k-subset of a group has the reward 1 if one of its members has, all
    subsets are normalised by their mean and population standard deviation, and a completion's advantage is the mean
    over the subsets that hold it. With c successes of n, and C the binomial coefficient::

        ρ = 1 − C(n − c, k) / C(n, k),    σ = √(ρ (1 − ρ))
        A₊ = (1 − ρ) / σ,    A₋ = (1 − ρ − C(n − c − 1, k − 1) / C(n − 1, k − 1)) / σ

    and 0 where σ is 0: no success, or n − c < k, so that every subset has one.

    Args:
        rewards: (G, n) float of 0 and 1, n ≥ 2.
        k: 1 … n.

    Raises:
        ShapeError: for groups of one.
        ConfigError: for a k outside 1 … n.
        RewardError: for a reward that is neither 0 nor 1.
    """
    n = _check_groups(rewards)
    if not 1 <= k <= n:
        raise ConfigError(f"k is {k}, and there are {n} completions of a prompt; give 1 to {n}.")
    other = (rewards != 0) & (rewards != 1)
    if other.any():
        raise RewardError(
            f"A reward is {float(rewards[other][0]):.6g}; pass_at_k counts successes, which asks for rewards "
            "of 0 and 1."
        )
    won, lost = zip(*(_pass_at_k_pair(n, c, k) for c in range(n + 1)), strict=True)
    successes = (rewards == 1).sum(-1)
    table = rewards.new_tensor([won, lost])[:, successes].unsqueeze(-1)
    return torch.where(rewards == 1, table[0], table[1])


def _pass_at_k_pair(n: int, c: int, k: int) -> tuple[float, float]:
    """Return the advantages of a success and of a failure among c successes of n."""
    if c == 0 or n - c < k:
        return 0.0, 0.0
    rho = 1 - math.comb(n - c, k) / math.comb(n, k)
    sigma = math.sqrt(rho * (1 - rho))
    return (1 - rho) / sigma, (1 - rho - math.comb(n - c - 1, k - 1) / math.comb(n - 1, k - 1)) / sigma


def _check_groups(rewards: torch.Tensor) -> int:
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise ShapeError(
            f"rewards are {tuple(rewards.shape)}; want (prompts, completions of each), at least two of them."
        )
    return int(rewards.shape[1])


GROUP_ADVANTAGES: Final[dict[str, Callable[..., torch.Tensor]]] = {
    "rloo": rloo_advantages,
    "grpo": grpo_advantages,
    "dr_grpo": dr_grpo_advantages,
    "maxrl": maxrl_advantages,
    "pass_at_k": pass_at_k_advantages,
}
"""By the names that `PPOConfig.advantage` takes."""
