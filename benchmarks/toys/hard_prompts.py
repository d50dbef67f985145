"""MaxRL learns prompts that are hardly ever solved, where advantages of pass@1 hardly begin; GRPO does so, too.

Four prompts, solved with probability 0.5, 0.1, 0.02 and 0.005, a logit each; 400 steps of plain gradient descent at 0.5
on a group of 8 of each. Figures: how often each is solved at the end, a mean of five runs.
"""

from __future__ import annotations

import torch
from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys.two_wishes import ADVANTAGES, SAMPLES

START = (0.5, 0.1, 0.02, 0.005)
RUNS = 5
BAR = (
    *(Claim("of 0.005", "MaxRL", rival, at_least=0.9) for rival in ("Dr. GRPO", "RLOO", "pass@4 training")),
    Claim("of 0.5", "RLOO", "pass@4 training", at_least=0.95),
)
SMALL = {"runs": 3}


def run(seed: int, *, runs: int = RUNS) -> Figures:
    """Return how often each prompt is solved with each kind of advantages."""
    return {name: figures(fit(advantages, seed, runs)) for name, advantages in ADVANTAGES.items()}


def fit(advantages: object, seed: int, runs: int) -> torch.Tensor:
    """Return the probabilities at the end, (4,)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.tensor(START).logit().expand(runs, -1).clone().requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=0.5)
    for _ in range(400):
        draws = torch.rand(runs * len(START), SAMPLES, generator=generator)
        solved = draws < logits.detach().sigmoid().view(-1, 1)
        gains = advantages(solved.float())  # type: ignore[operator]
        each = logits.view(-1, 1)
        logp = torch.nn.functional.logsigmoid(torch.where(solved, each, -each))
        optimizer.zero_grad()
        # A gradient of its own for every run and prompt.
        (-gains * logp).mean(-1).sum().backward()
        optimizer.step()
    return logits.detach().sigmoid().mean(0)


def figures(solved: torch.Tensor) -> dict[str, float]:
    """Return them by what they were at the start."""
    return {f"of {start}": float(p) for start, p in zip(START, solved, strict=True)}
