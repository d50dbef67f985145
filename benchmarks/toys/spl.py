"""Soft preference learning flattens what DPO sharpens; so does DPO's own temperature.

Four answers of one token with a reference of .5, .3, .15, .05 and Bradley–Terry rewards of 1, .8, .9 and 0; both
answers of a pair are drawn evenly, 20,000 labelled pairs. Tabular; α .3, β .1; full-batch Adam. `to optimum` is the
total variation to π_ref^(β/α) e^(r/α), what is aimed at with all pairs there are.
"""

from __future__ import annotations

import torch
from benchmarks.toys._bar import Claim, Figures

from genrlhf.ops import soft_preference_logits

ALPHA, BETA = 0.3, 0.1
REFERENCE, REWARD = torch.tensor([0.5, 0.3, 0.15, 0.05]).log(), torch.tensor([1.0, 0.8, 0.9, 0.0])
BAR = (
    Claim("exp(H)", "SPL", "DPO", at_least=2.5),
    Claim("to optimum", "SPL", "DPO", at_most=0.1),
    Claim("to optimum", "DPO, T α/β", at_most=0.1),
)
SMALL = {"pairs": 20_000, "steps": 600}


def run(seed: int, *, pairs: int = 20_000, steps: int = 1500) -> Figures:
    """Return the effective number of answers, and the distance to SPL's optimum, of each arm."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randint(0, 4, (2, pairs), generator=generator)
    told = first != second
    first, second = first[told], second[told]
    wins = torch.rand(len(first), generator=generator) < torch.sigmoid(REWARD[first] - REWARD[second])
    chosen, rejected = torch.where(wins, first, second), torch.where(wins, second, first)
    counts = torch.zeros(4, 4).index_put((chosen, rejected), torch.ones(len(chosen)), accumulate=True)
    dpo, soft = (_fit(counts, alpha, steps) for alpha in (BETA, ALPHA))
    arms = {"reference": REFERENCE, "DPO": dpo, "SPL": soft, "DPO, T α/β": dpo * BETA / ALPHA}
    optimum = ((BETA * REFERENCE + REWARD) / ALPHA).softmax(-1)
    return {name: _figures(logits, optimum) for name, logits in arms.items()}


def _fit(counts: torch.Tensor, alpha: float, steps: int) -> torch.Tensor:
    logits = REFERENCE.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    gap = REFERENCE.unsqueeze(1) - REFERENCE.unsqueeze(0)
    for _ in range(steps):
        margins = soft_preference_logits(logits.unsqueeze(1) - logits.unsqueeze(0), gap, alpha=alpha, beta=BETA)
        loss = -(counts * torch.nn.functional.logsigmoid(margins)).sum() / counts.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.detach()


def _figures(logits: torch.Tensor, optimum: torch.Tensor) -> dict[str, float]:
    found = logits.softmax(-1)
    entropy = -(found * found.log()).sum()
    return {"exp(H)": float(entropy.exp()), "to optimum": float((found - optimum).abs().sum() / 2)}
