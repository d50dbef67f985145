"""MaxRL writes what is wanted as often as it is wanted; advantages that maximise pass@1 write the commoner wish alone.

Two answers, one token each; 70 % of the prompts want the first, and no prompt tells. Policy gradient of 64 prompts of 8
samples a step. Figures: how often the first is written, and the chance that one of one, or of four, samples is what is
wanted. The likelihood is largest at 0.7, pass@4 at 0.57.
"""

from __future__ import annotations

from functools import partial

import torch
from benchmarks.toys._bar import Claim, Figures

from genrlhf.ops import GROUP_ADVANTAGES, pass_at_k_advantages

PROMPTS, SAMPLES, WANTED = 64, 8, 0.7
ADVANTAGES = {
    "RLOO": GROUP_ADVANTAGES["rloo"],
    "Dr. GRPO": GROUP_ADVANTAGES["dr_grpo"],
    "GRPO": GROUP_ADVANTAGES["grpo"],
    "MaxRL": GROUP_ADVANTAGES["maxrl"],
    "pass@4 training": partial(pass_at_k_advantages, k=4),
}
RIVALS = ("RLOO", "Dr. GRPO", "GRPO")
BAR = (
    *(Claim("pass@4", arm, rival, at_least=0.9) for arm in ("MaxRL", "pass@4 training") for rival in RIVALS),
    Claim("first", "MaxRL", at_most=0.75),
    Claim("first", "MaxRL", "pass@4 training", at_least=0.65),
)
SMALL = {"steps": 300}


def run(seed: int, *, steps: int = 600) -> Figures:
    """Return what is written with each kind of advantages."""
    return {name: figures(fit(advantages, seed, steps)) for name, advantages in ADVANTAGES.items()}


def fit(advantages: object, seed: int, steps: int) -> float:
    """Return the probability of the first answer, a mean over the second half of the steps."""
    generator = torch.Generator().manual_seed(seed)
    logit = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([logit], lr=0.05)
    seen = []
    for _ in range(steps):
        first = torch.rand(PROMPTS, SAMPLES, generator=generator) < logit.detach().sigmoid()
        wants_first = torch.rand(PROMPTS, 1, generator=generator) < WANTED
        gains = advantages((first == wants_first).float())  # type: ignore[operator]
        logp = torch.nn.functional.logsigmoid(torch.where(first, logit, -logit))
        optimizer.zero_grad()
        (-gains * logp).mean().backward()
        optimizer.step()
        seen.append(float(logit.detach().sigmoid()))
    return sum(seen[steps // 2 :]) / (steps - steps // 2)


def figures(p: float) -> dict[str, float]:
    """Return what comes of writing the first answer with probability p."""
    passes = {k: WANTED * (1 - (1 - p) ** k) + (1 - WANTED) * (1 - p**k) for k in (1, 4)}
    return {"first": p, "pass@1": passes[1], "pass@4": passes[4]}
