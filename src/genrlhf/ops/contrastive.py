"""Contrastive losses of passages and critiques, what they say of classes, and classes out of critiques.

Shapes: B pairs and K classes in a latent space of D, each vector of length 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from genrlhf.errors import DataError, ShapeError
from genrlhf.ops.sums import widened

__all__ = ["LOG_SCALE", "Clusters", "class_logits", "contrastive_losses", "soft_cross_entropy", "spherical_clusters"]

LOG_SCALE = math.log(100.0)
"""The largest absolute value of τ."""


def contrastive_losses(passages: torch.Tensor, critiques: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Return the loss of every pair against all others, (B,) float32.

    CARP (Matiana et al. 2021, arXiv 2110.03111). With S = e^τ u vᵀ::

        ½ [CE(S, diagonal) + CE(Sᵀ, diagonal)]

    Vectors that have nothing to do with each other have log B or so; matched ones at right angles to all others go to
    0 as τ grows. Equal critiques are each other's negatives: of two in equal numbers nothing goes below log(B / 2).
    Passages and critiques may be exchanged.

    Args:
        passages: u, (B, D) float.
        critiques: v, of the same pairs in the same order.
        log_scale: τ, a number.

    Raises:
        ShapeError: for another shape.

    Example:
        >>> contrastive_losses(torch.eye(3), torch.eye(3), torch.tensor(4.0)).max() < 1e-6
        tensor(True)
    """
    if passages.dim() != 2 or passages.shape != critiques.shape:
        raise ShapeError(
            f"passages are {tuple(passages.shape)}, critiques {tuple(critiques.shape)}; want (B, D) of each."
        )
    logits = class_logits(passages, critiques, log_scale)
    both = logits.log_softmax(-1).diagonal() + logits.mT.log_softmax(-1).diagonal()
    return -both / 2


def class_logits(passages: torch.Tensor, classes: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Return e^τ u wᵀ, (B, K) float32, with τ at most log 100 in size.

    Args:
        passages: u, (B, D) float.
        classes: w, (K, D) float.
        log_scale: τ, a number.
    """
    with torch.autocast(passages.device.type, enabled=False):  # which would leave a product 8 bits
        cosines = passages.float() @ classes.float().mT
    return log_scale.float().clamp(-LOG_SCALE, LOG_SCALE).exp() * cosines


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return −Σ_k p_k log softmax(logits)_k of every row, (B,) float.

    CoOp's loss (Castricato et al. 2022, arXiv 2210.07792), with p the distribution itself: their code takes a softmax
    of it.

    Args:
        logits: (B, K) float.
        targets: p, (B, K) float, each row a distribution.
    """
    return -(targets.to(logits) * logits.log_softmax(-1)).sum(-1)


class Clusters(NamedTuple):
    """Classes of vectors.

    Attributes:
        labels: of every vector, (N,) int64; in the order in which they first come.
        centres: (K, D) of `widest_dtype`, of length 1.
    """

    labels: torch.Tensor
    centres: torch.Tensor


def spherical_clusters(
    vectors: torch.Tensor, count: int, *, seed: int = 0, restarts: int = 8, iterations: int = 100
) -> Clusters:
    """Return `count` classes of vectors of length 1: k-means by their cosines (Dhillon & Modha 2001), the best start.

    Starts are drawn as k-means++ draws them (Arthur & Vassilvitskii 2007), on the processor.

    Args:
        vectors: (N, D) float, of length 1.
        count: K, 2 or more.
        seed: of the starts.
        restarts: starts.
        iterations: of each, at most.

    Raises:
        DataError: where fewer than K vectors are different, or one is not finite.

    Example:
        >>> spherical_clusters(torch.tensor([[1.0, 0], [0, 1], [1, 0]]), 2).labels
        tensor([0, 1, 0])
    """
    points = widened(vectors).cpu()
    if not points.isfinite().all():
        raise DataError(f"Vector {int((~points.isfinite()).any(-1).nonzero()[0])} is not finite.")
    # Up to rounding: the same text in another batch.
    different = len(torch.unique((points * 1e5).round(), dim=0))
    if count < 2 or different < count:
        raise DataError(
            f"{different} different vectors cannot be {count} classes; it takes 2 classes, and as many vectors."
        )
    generator = torch.Generator().manual_seed(seed)
    found = [_from_start(points, _start(points, count, generator), iterations) for _ in range(restarts)]
    labels, centres, _ = max(found, key=lambda each: float(each[2]))
    order = list(dict.fromkeys(labels.tolist()))
    places = torch.empty(count, dtype=torch.int64)
    places[torch.tensor(order)] = torch.arange(count)
    return Clusters(places[labels], centres[torch.tensor(order)])


def _start(points: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    while len(chosen) < count:
        apart = (1 - (points @ points[chosen].mT).amax(-1)).clamp(min=0)
        chosen.append(int(torch.multinomial(apart / apart.sum(), 1, generator=generator)))
    return points[chosen]


def _from_start(
    points: torch.Tensor, centres: torch.Tensor, iterations: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return labels, centres, and the sum of the cosines of points to theirs."""
    labels = torch.full((len(points),), -1)
    for _ in range(iterations):
        cosines = points @ centres.mT
        new = cosines.argmax(-1)
        for empty in sorted(set(range(len(centres))) - set(new.tolist())):
            # To the point that is worst off, of a class that has others.
            sizes = torch.bincount(new, minlength=len(centres))[new]
            new[cosines.gather(1, new.unsqueeze(1)).squeeze(1).masked_fill(sizes < 2, 2).argmin()] = empty
        if torch.equal(new, labels):
            break
        labels = new
        sums = torch.zeros_like(centres).index_add(0, labels, points)
        centres = torch.nn.functional.normalize(sums, dim=-1)
    return labels, centres, (points * centres[labels]).sum()
