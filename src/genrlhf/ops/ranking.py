"""Losses of several completions of a prompt that rewards put in an order."""

from __future__ import annotations

import torch

from genrlhf.errors import ShapeError

__all__ = ["first_best", "ranking_loss"]


def ranking_loss(scores: torch.Tensor, rewards: torch.Tensor, groups: torch.Tensor, size: int) -> torch.Tensor:
    """Return how far the scores of each group are from the order of its rewards.

    Yuan et al. 2023, "RRHF: Rank Responses to Align Language Models with Human Feedback without tears" (arXiv
    2304.05302), equation 3, without a margin; ties make no pair::

        L_g = Σ_{i, j in g: r_i < r_j} max(0, s_i − s_j)

    Args:
        scores: (N,) float, such as the mean log-probability of a completion's tokens.
        rewards: (N,) float.
        groups: (N,) int64, the group of each, 0 … size − 1.
        size: number of groups.

    Returns:
        (size,) float, with a gradient in the scores.

    Raises:
        ShapeError: for other shapes.

    Example:
        >>> import torch
        >>> scores, rewards = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([0.0, 1.0, 2.0])
        >>> ranking_loss(scores, rewards, torch.zeros(3, dtype=torch.int64), 1)
        tensor([4.])
    """
    _check(scores, rewards, groups)
    lower = (rewards.unsqueeze(1) < rewards.unsqueeze(0)) & (groups.unsqueeze(1) == groups.unsqueeze(0))
    pairs = (scores.unsqueeze(1) - scores.unsqueeze(0)).clamp(min=0).masked_fill(~lower, 0.0)
    return scores.new_zeros(size).index_add(0, groups, pairs.sum(1))


def first_best(rewards: torch.Tensor, groups: torch.Tensor, size: int) -> torch.Tensor:
    """Return the place of the highest reward of each group, the first of equal ones: (size,) int64.

    Args:
        rewards: (N,) float.
        groups: (N,) int64, the group of each, 0 … size − 1, of which each has some.
        size: number of groups.
    """
    _check(rewards, rewards, groups)
    outside = groups.unsqueeze(0) != torch.arange(size, device=groups.device).unsqueeze(1)
    return rewards.unsqueeze(0).masked_fill(outside, float("-inf")).argmax(1)


def _check(scores: torch.Tensor, rewards: torch.Tensor, groups: torch.Tensor) -> None:
    if scores.ndim != 1 or not scores.shape == rewards.shape == groups.shape:
        shapes = ", ".join(str(tuple(each.shape)) for each in (scores, rewards, groups))
        raise ShapeError(f"Scores, rewards and groups have the shapes {shapes}; want (N,) each.")
