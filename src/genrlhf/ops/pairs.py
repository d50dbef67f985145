"""Pairs of completions of a prompt: which make one, and how far a policy prefers one of them."""

from __future__ import annotations

import torch

from genrlhf.errors import ShapeError
from genrlhf.ops.sums import widened

__all__ = [
    "class_rarity",
    "contrast_loss",
    "good_and_bad",
    "mean_distance",
    "rarest_pair",
    "soft_preference_logits",
]


def soft_preference_logits(policy: torch.Tensor, reference: torch.Tensor, *, alpha: float, beta: float) -> torch.Tensor:
    """Return the logits of preferring the first completion of each pair, α Δπ − β Δref; −log σ of it is the loss.

    α weighs the policy's entropy, β the cross-entropy to the reference: the optimum is π ∝ π_ref^{β/α} p^{1/α}, with p
    the preference's exponent. Slocum et al. 2025, "Diverse Preference Learning for Capabilities and Alignment" (arXiv
    2511.08594). With α = β it is the logit of DPO (Rafailov et al. 2023, equation 7); otherwise its optimum for
    sequences is that of DPO(β), sampled at the temperature α / β.

    Args:
        policy: (B,) float, log π(w | x) − log π(l | x), sums over tokens.
        reference: (B,) float, the same under π_ref.
        alpha: α.
        beta: β.

    Raises:
        ShapeError: for other shapes.

    Example:
        >>> import torch
        >>> soft_preference_logits(torch.tensor([2.0]), torch.tensor([1.0]), alpha=0.5, beta=0.1)
        tensor([0.9000])
    """
    if policy.shape != reference.shape:
        raise ShapeError(f"policy has shape {tuple(policy.shape)} and reference {tuple(reference.shape)}; want one.")
    return alpha * policy - beta * reference


def contrast_loss(own: torch.Tensor, others: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return how little each text belongs to its own prompt, among others: C = −log(e^m / (e^m + Σ_j e^{m_j})).

    Zhang et al. 2023, "The Wisdom of Hindsight Makes Language Models Better Instruction Followers" (arXiv 2302.05206),
    with m the mean log-probability of the text's tokens behind a prompt.

    Args:
        own: (B,) float, m behind the own prompt.
        others: (M,) float, m behind another one.
        rows: (M,) int64, the text of each, 0 … B − 1.

    Returns:
        (B,) float, with a gradient in both; 0 where there is no other prompt.

    Example:
        >>> import torch
        >>> contrast_loss(torch.tensor([-1.0, -2.0]), torch.tensor([-1.0]), torch.tensor([0]))
        tensor([0.6931, 0.0000])
    """
    beside = own.new_full((len(own), len(others)), float("-inf"))
    beside = beside.index_put((rows, torch.arange(len(others), device=own.device)), others)
    return torch.cat([own.unsqueeze(1), beside], dim=1).logsumexp(-1) - own


def good_and_bad(
    rewards: torch.Tensor, *, share: float = 0.25, good: float | None = None, bad: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which completions of a group are good, and which bad; none is both.

    Args:
        rewards: (n,) float.
        share: good and bad are as many as this share of n, rounded down, at least one, and those of equal reward; what
            is not below every good one is not bad. An increasing map of rewards changes nothing.
        good: rewards from here on are good instead.
        bad: rewards below this are bad; by default what is good.

    Returns:
        Two masks, (n,) bool.

    Example:
        >>> import torch
        >>> [mask.nonzero().flatten().tolist() for mask in good_and_bad(torch.tensor([0.1, 0.9, 0.5, 0.3]))]
        [[1], [0]]
    """
    if good is not None:
        return rewards >= good, rewards < (good if bad is None else bad)
    count = max(1, int(share * len(rewards)))
    high, low = rewards.sort(descending=True).values[count - 1], rewards.sort().values[count - 1]
    return rewards >= high, (rewards <= low) & (rewards < high)


def class_rarity(labels: torch.Tensor) -> torch.Tensor:
    """Return one over the size of its class for each member of a group.

    Args:
        labels: (n,) int64, its class.

    Returns:
        (n,) float32.

    Example:
        >>> import torch
        >>> class_rarity(torch.tensor([4, 4, 7]))
        tensor([0.5000, 0.5000, 1.0000])
    """
    return 1 / (labels.unsqueeze(0) == labels.unsqueeze(1)).sum(-1).float()


def mean_distance(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the mean cosine distance of each vector to the others.

    Args:
        embeddings: (n, d) float, n ≥ 2.

    Returns:
        (n,) of `widest_dtype`; NaN where a vector has no direction.

    Raises:
        ShapeError: for another shape.
    """
    if embeddings.dim() != 2 or len(embeddings) < 2:
        raise ShapeError(f"embeddings have shape {tuple(embeddings.shape)}; want (n, d), of at least two texts.")
    wide = widened(embeddings)
    unit = wide / wide.norm(dim=-1, keepdim=True)
    similar: torch.Tensor = unit @ unit.T
    return 1 - (similar.sum(-1) - similar.diagonal()) / (len(unit) - 1)


def rarest_pair(
    rarity: torch.Tensor, good: torch.Tensor, bad: torch.Tensor, order: torch.Tensor
) -> tuple[int, int] | None:
    """Return the places of the rarest good and the commonest bad completion; None where one side is empty.

    Lanchantin et al. 2025, "Diverse Preference Optimization" (arXiv 2501.18101): chosen = argmax_good d, rejected =
    argmin_bad d.

    Args:
        rarity: (n,) float, d.
        good: (n,) bool.
        bad: (n,) bool.
        order: (n,) int64, a permutation: of equals the one that it has first.

    Example:
        >>> import torch
        >>> d, good = torch.tensor([0.5, 1.0, 0.5, 1.0]), torch.tensor([True, True, False, False])
        >>> rarest_pair(d, good, ~good, torch.arange(4))
        (1, 2)
    """
    if not bool(good.any()) or not bool(bad.any()):
        return None
    places, values = order.tolist(), rarity.tolist()
    chosen = max((place for place in places if good[place]), key=values.__getitem__)
    return chosen, min((place for place in places if bad[place]), key=values.__getitem__)
