"""Rewards of completions that count how much the others of their prompt are like them.

Shapes: G prompts with n completions each, (G, n). `classes` are numbers, equal where two completions of a prompt say
the same; size(i) is how many say what i does. Completions may be put into another order, and classes renamed.
"""

from __future__ import annotations

import torch

from genrlhf.errors import ConfigError, DataError, ShapeError
from genrlhf.ops.sums import widened

__all__ = [
    "check_power",
    "class_sizes",
    "determinant_gains",
    "distinct_rewards",
    "shared_rewards",
    "shifted_above_zero",
    "uniqueness_weights",
]

ASYMMETRY = 1e-4


def class_sizes(classes: torch.Tensor) -> torch.Tensor:
    """Return how many completions of its prompt are of the class of each, itself among them, (G, n) int64.

    Args:
        classes: (G, n) int.

    Raises:
        ShapeError: for groups of one.
    """
    _check_groups(classes, "classes")
    return (classes.unsqueeze(-1) == classes.unsqueeze(-2)).sum(-1)


def shifted_above_zero(rewards: torch.Tensor) -> torch.Tensor:
    """Return rewards less the lowest of their group where that is below 0, (G, n).

    A product with a share in [0, 1] pays for duplicates where a reward is negative.

    Args:
        rewards: (G, n) float.
    """
    return rewards - rewards.min(-1, keepdim=True).values.clamp(max=0)


def distinct_rewards(rewards: torch.Tensor, classes: torch.Tensor, *, floor: float = 0.0) -> torch.Tensor:
    """Return r_i · d_i with d_i = (n − size(i)) / (n − 1), the share of the others that say something else, (G, n).

    DARLING (Li et al. 2025, arXiv 2509.02534). Where all say the same it is 0, where all differ r.

    Args:
        rewards: (G, n) float, n ≥ 2, none below 0 (see `shifted_above_zero`).
        classes: (G, n) int.
        floor: the least d_i; their code has 0.1.

    Raises:
        ShapeError: for groups of one, or another shape of classes.

    Example:
        >>> distinct_rewards(torch.ones(1, 3), torch.tensor([[0, 0, 1]]))
        tensor([[0.5000, 0.5000, 1.0000]])
    """
    n = _check_alike(rewards, classes)
    return rewards * ((n - class_sizes(classes).to(rewards.dtype)) / (n - 1)).clamp(min=floor)


def shared_rewards(rewards: torch.Tensor, classes: torch.Tensor, *, power: float = 1.0) -> torch.Tensor:
    """Return r_i / size(i)^a, (G, n): what is said often pays less.

    Where all say the same it is r / n^a, where all differ r.

    Args:
        rewards: (G, n) float, n ≥ 2, none below 0 (see `shifted_above_zero`).
        classes: (G, n) int.
        power: a; with 0 nothing changes.

    Raises:
        ShapeError: for groups of one, or another shape of classes.
    """
    _check_alike(rewards, classes)
    return rewards / class_sizes(classes).to(rewards.dtype) ** power


def uniqueness_weights(classes: torch.Tensor, *, power: float = 1.0) -> torch.Tensor:
    """Return w_i ∝ size(i)^−a with mean 1 in every group, (G, n) float32, by which advantages are multiplied.

    Uniqueness-aware advantages (arXiv 2601.08763). The mean of 1 leaves the step of a group as large as it was.

    Args:
        classes: (G, n) int, n ≥ 2.
        power: a; with 0 all are 1.

    Raises:
        ShapeError: for groups of one.
    """
    weights = class_sizes(classes).float() ** -power
    return weights / weights.mean(-1, keepdim=True)


def determinant_gains(similarity: torch.Tensor) -> torch.Tensor:
    """Return what each completion adds to the log-determinant of its group, (G, n) of `widest_dtype`.

    DQO (arXiv 2509.04784). With K the similarities and K_−i those of the others::

        log det(K + I) − log det(K_−i + I) = −log [(K + I)⁻¹]_ii

    by the Schur complement, so that one inverse serves a group. For cosines it is log 2 at most, of one at right
    angles to all others, and log((n + 1) / n) where all are the same.

    Args:
        similarity: (G, n, n) float, n ≥ 2, symmetric and positive semidefinite, such as cosines.

    Raises:
        ShapeError: for another shape, or groups of one.
        DataError: where a similarity is not finite, or K is not symmetric or not positive semidefinite.

    Example:
        >>> determinant_gains(torch.eye(2).unsqueeze(0)).exp().round(decimals=6).tolist()
        [[2.0, 2.0]]
    """
    if similarity.dim() != 3 or similarity.shape[1] != similarity.shape[2] or similarity.shape[1] < 2:
        raise ShapeError(
            f"similarity is {tuple(similarity.shape)}; want (prompts, n, n) of the n ≥ 2 completions of each."
        )
    wide = widened(similarity)
    if not wide.isfinite().all():
        group = int((~wide.isfinite()).flatten(1).any(-1).nonzero()[0])
        raise DataError(f"A similarity of group {group} is not finite; look at the embeddings of its completions.")
    apart = float((wide - wide.mT).abs().max())
    if apart > ASYMMETRY:
        raise DataError(f"The similarity of two completions depends on their order (by {apart:.3g}); mend that.")
    kernel = (wide + wide.mT) / 2 + torch.eye(wide.shape[1], dtype=wide.dtype, device=wide.device)
    factor, failed = torch.linalg.cholesky_ex(kernel)
    if failed.any():
        raise DataError(
            f"The similarities of group {int(failed.nonzero()[0])} are no kernel (K + I has an eigenvalue of 0 or "
            "less); use the inner products of embeddings."
        )
    return -torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1).log()


def check_power(power: float) -> None:
    """Raise `ConfigError` for the power of a class's size that is below 0, or not finite."""
    if not 0 <= power < float("inf"):
        raise ConfigError(f"power is {power}; it must be 0 (which changes nothing) or more, and finite.")


def _check_groups(values: torch.Tensor, name: str) -> int:
    if values.dim() != 2 or values.shape[1] < 2:
        raise ShapeError(f"{name} are {tuple(values.shape)}; want (prompts, two completions or more of each).")
    return int(values.shape[1])


def _check_alike(rewards: torch.Tensor, classes: torch.Tensor) -> int:
    if rewards.shape != classes.shape:
        raise ShapeError(f"rewards are {tuple(rewards.shape)} and classes {tuple(classes.shape)}; want the same.")
    return _check_groups(rewards, "rewards")
