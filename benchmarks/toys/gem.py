"""GEM keeps the entropy that cross-entropy loses on few data; so does a temperature.

A categorical distribution of 20 classes is learnt from 30 draws, tabular, with a ridge of 1e-3 on the logits; figures
are means over 32 data sets. The control that a gain has to be compared with, cross-entropy sampled at T = 1/β, is the
same model up to the ridge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from benchmarks.toys._bar import Claim, Figures

from genrlhf.methods import GEM

BETA = 0.7
BAR = (Claim("entropy", "GEM", "cross-entropy", at_least=2.05),)
SMALL = {"datasets": 16, "steps": 200}


@dataclass
class Batch:
    """What GEM reads of a batch."""

    z: torch.Tensor
    labels: torch.Tensor

    def logits(self) -> torch.Tensor:
        return self.z


def run(seed: int, *, datasets: int = 32, steps: int = 500) -> Figures:
    """Return entropy in nats, and KL from the data's distribution, of each arm."""
    generator = torch.Generator().manual_seed(seed)
    # exp(H) of about 8 classes of 20.
    data = (-0.35 * torch.arange(20.0)).softmax(0)
    labels = torch.multinomial(data.expand(datasets, 20), 30, replacement=True, generator=generator)
    plain, gem = (_fit(beta, labels, steps) for beta in (1.0, BETA))
    arms = {
        "cross-entropy": plain,
        "GEM": gem,
        "cross-entropy, T 1/β": plain * BETA,
        "GEM, T β": gem / BETA,
        "data": data.log().expand(datasets, 20),
    }
    return {name: _figures(z, data) for name, z in arms.items()}


def _fit(beta: float, labels: torch.Tensor, steps: int) -> torch.Tensor:
    z = torch.zeros(len(labels), 20, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(steps):
        every = z.unsqueeze(1).expand(-1, labels.shape[1], -1).flatten(0, 1)
        losses = GEM(beta)(Batch(every, labels.flatten()))  # type: ignore[arg-type]
        # A mean for each data set, over its draws.
        loss = losses.view_as(labels).mean(1).sum() + 1e-3 * z.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return z.detach()


def _figures(z: torch.Tensor, data: torch.Tensor) -> dict[str, float]:
    logp = z.log_softmax(-1)
    return {
        "entropy": float(-(logp.exp() * logp).sum(-1).mean()),
        "KL(data, ·)": float((data * (data.log() - logp)).sum(-1).mean()),
    }
