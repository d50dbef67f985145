"""MARA makes all that is right equally likely, where a KL penalty keeps what the base prefers.

Twelve right answers and twelve wrong ones, one token each; policy gradient with the advantages of Dr. GRPO, of rewards
less β log π / π_ref, β = 0.05. Rejection is the base, of which only right answers are kept: what the penalty aims at.
"""

from __future__ import annotations

import torch
from benchmarks.toys._bandit import toy_o
from benchmarks.toys._bar import Claim, Figures

from genrlhf.methods import MARA
from genrlhf.ops import dr_grpo_advantages

BETA = 0.05
BAR = (
    Claim("answers", "MARA", "KL penalty", at_least=11.5),
    Claim("answers", "MARA", "rejection", at_least=11.5),
    Claim("valid", "MARA", at_least=0.99),
)
SMALL = {"steps": 700}


def run(seed: int, *, steps: int = 1500) -> Figures:
    """Return what is written by each arm."""
    bandit, mara = toy_o(), MARA(threshold=1.0)
    reference = bandit.base.log_softmax(-1)

    def fit(shaped: bool, beta: float = BETA) -> torch.Tensor:
        def advantages(drawn: torch.Tensor, logp: torch.Tensor) -> torch.Tensor:
            rewards = bandit.rewards[drawn]
            if shaped:
                rewards = mara(["x"] * len(drawn), rewards, reference[drawn], beta)
            return dr_grpo_advantages(rewards - beta * (logp - reference)[drawn])

        return bandit.train(seed, advantages, steps=steps)

    rejection = bandit.base.masked_fill(~bandit.valid, -torch.inf)
    return {
        "base": bandit.figures(bandit.base),
        "rejection": bandit.figures(rejection),
        "no penalty": bandit.figures(fit(shaped=False, beta=0.0)),
        "KL penalty": bandit.figures(fit(shaped=False)),
        "MARA": bandit.figures(fit(shaped=True)),
    }
