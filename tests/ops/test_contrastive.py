"""Contrastive losses, soft labels, and classes out of vectors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from genrlhf.errors import DataError, ShapeError
from genrlhf.ops import class_logits, contrastive_losses, soft_cross_entropy, spherical_clusters


def units(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_loss_is_two_cross_entropies() -> None:
    u, v, tau = units(6, 5), units(6, 5, seed=1), torch.tensor(1.3)
    logits = tau.exp() * u @ v.T
    place = torch.arange(6)
    by_torch = (cross_entropy(logits, place) + cross_entropy(logits.T, place)) / 2
    assert abs(contrastive_losses(u, v, tau).mean() - by_torch) < 1e-6
    # By a loop.
    alone = [
        -math.log(math.exp(logits[2, 2]) / sum(math.exp(logits[2, j]) for j in range(6))) / 2
        - math.log(math.exp(logits[2, 2]) / sum(math.exp(logits[j, 2]) for j in range(6))) / 2
    ]
    assert abs(float(contrastive_losses(u, v, tau)[2]) - alone[0]) < 1e-6


def test_identities_of_the_loss() -> None:
    u, v, tau = units(64, 512), units(64, 512, seed=1), torch.tensor(0.0)
    assert abs(float(contrastive_losses(u, v, tau).mean()) - math.log(64)) < 0.01
    assert (contrastive_losses(u, v, tau) - contrastive_losses(v, u, tau)).abs().max() < 1e-6
    # Orthonormal and matched, the scale at its largest; a larger one is as that.
    eye = torch.eye(8)
    assert contrastive_losses(eye, eye, torch.tensor(math.log(100))).max() < 1e-6
    same = contrastive_losses(u, v, torch.tensor(9.0)) - contrastive_losses(u, v, torch.tensor(math.log(100)))
    assert same.abs().max() < 1e-6
    # Two critiques in equal numbers: log(B / 2) is the floor.
    two = torch.eye(8)[torch.arange(8) % 2]
    assert abs(float(contrastive_losses(two, two, torch.tensor(math.log(100))).mean()) - math.log(4)) < 1e-6
    with pytest.raises(ShapeError, match=r"passages are \(64, 512\), critiques \(8, 8\)"):
        contrastive_losses(u, eye, tau)


def test_products_are_in_float32_under_autocast() -> None:
    u, tau = units(5, 4), torch.tensor(4.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = contrastive_losses(u, u, tau)
    assert torch.equal(under, contrastive_losses(u, u, tau))


def test_classes() -> None:
    u, w, tau = units(5, 4), units(3, 4, seed=1), torch.tensor(2.0)
    logits = class_logits(u, w, tau)
    labels = torch.tensor([0, 2, 1, 1, 0])
    hard = soft_cross_entropy(logits, torch.eye(3)[labels])
    assert (hard - cross_entropy(logits, labels, reduction="none")).abs().max() < 1e-6
    # A constant on all classes changes nothing.
    assert (soft_cross_entropy(logits + 3, torch.eye(3)[labels]) - hard).abs().max() < 1e-5
    # Least at the distribution itself, where it is the entropy.
    p = torch.tensor([[0.5, 0.25, 0.25]])
    at = soft_cross_entropy(p.log(), p)
    assert abs(float(at) - 1.5 * math.log(2)) < 1e-6
    assert soft_cross_entropy(torch.zeros(1, 3), p) > at


def test_clusters_are_found_whatever_the_order_and_start() -> None:
    centres = torch.eye(6)[:4]
    truth = torch.arange(40) % 4
    points = normalize(centres[truth] + 0.1 * torch.randn(40, 6, generator=torch.Generator().manual_seed(3)), dim=-1)
    for seed in range(5):
        labels, found = spherical_clusters(points, 4, seed=seed)
        assert torch.equal(labels, truth)
        assert ((found.float() * centres).sum(-1) > 0.95).all()
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
        again, _ = spherical_clusters(points[order], 4, seed=seed)
        assert len({(int(a), int(b)) for a, b in zip(again, truth[order], strict=True)}) == 4
    # Each alone, and none of them empty.
    assert sorted(spherical_clusters(centres, 4).labels.tolist()) == [0, 1, 2, 3]
    assert set(spherical_clusters(units(30, 2), 7, restarts=1).labels.tolist()) == set(range(7))


@pytest.mark.parametrize(
    ("points", "count", "words"),
    [
        (torch.ones(5, 1), 2, "1 different vectors cannot be 2 classes"),
        (torch.eye(3), 4, "3 different vectors cannot be 4 classes"),
        (torch.eye(3), 1, "cannot be 1 classes; it takes 2"),
        (torch.tensor([[1.0], [float("nan")]]), 2, "Vector 1 is not finite"),
    ],
)
def test_what_cannot_be_clustered(points: torch.Tensor, count: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        spherical_clusters(points, count)
