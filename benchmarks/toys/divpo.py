"""DivPO keeps valid answers many where best against worst leaves few.

One prompt, answers of one token: 12 valid and 12 invalid ones with logits −0.5 i and −0.5 i − 0.3, i = 0 … 11, and a
reward of 1 for a valid one. In each of 16 rounds 256 groups of 16 are drawn and paired, and DPO (β 1) takes 40 steps of
Adam at 0.01 against the policy that the round began with. `valid answers` is exp(H | valid), their effective number.
Rejection is the start's own samples, those that are valid: no training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.toys._bar import Claim, Figures

from genrlhf.methods import DivPO
from genrlhf.ops import soft_preference_logits
from genrlhf.trainers import Completion, Group

VALID = 12
BAR = (
    Claim("valid answers", "DivPO, frequency", "best against worst", at_least=5.4),
    Claim("valid answers", "DivPO, probability", "best against worst", at_least=5.4),
    Claim("valid", "DivPO, frequency", "start", at_least=0.99),
    Claim("valid", "DivPO, probability", "start", at_least=0.99),
)
SMALL = {"rounds": 10, "groups": 128}


def run(seed: int, *, rounds: int = 16, groups: int = 256) -> Figures:
    """Return the share of valid answers, and how many of them there are in effect, of each arm."""
    start = _start()

    def alike(sets: list[list[str]]) -> list[list[int]]:
        return [list(range(len(texts))) for texts in sets]

    def answers(sets: list[list[str]]) -> list[list[int]]:
        return [[int(text) for text in texts] for texts in sets]

    arms: dict[str, Callable[[], DivPO]] = {
        # Where all are as rare, ties are broken by chance.
        "best against worst": lambda: DivPO(classes=alike),
        "DivPO, frequency": lambda: DivPO(classes=answers),
        "DivPO, probability": lambda: DivPO("probability"),
    }
    found = {name: _figures(_trained(start, make(), seed, rounds, groups)) for name, make in arms.items()}
    valid = _figures(start)
    return {"start": valid, "rejection": {**valid, "valid": 1.0}, **found}


def _start() -> torch.Tensor:
    falling = -0.5 * torch.arange(float(VALID))
    return torch.cat([falling, falling - 0.3])


def _trained(start: torch.Tensor, pairs: DivPO, seed: int, rounds: int, groups: int) -> torch.Tensor:
    logits = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=0.01)
    generator = torch.Generator().manual_seed(seed)
    for number in range(rounds):
        reference = logits.detach().log_softmax(-1)
        drawn = torch.multinomial(reference.exp().expand(groups, -1), 16, replacement=True, generator=generator)
        made = [_group(row, answers, reference, seed * rounds + number) for row, answers in enumerate(drawn.tolist())]
        rows = pairs(made).rows
        if not rows:
            break
        wins, losses = ([row[side].token_ids[0] for row in rows] for side in ("chosen", "rejected"))
        for _ in range(40):
            policy = logits.log_softmax(-1)
            margins = policy[wins] - policy[losses], reference[wins] - reference[losses]
            loss = -torch.nn.functional.logsigmoid(soft_preference_logits(*margins, alpha=1.0, beta=1.0)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return logits.detach()


def _group(row: int, answers: list[int], logprobs: torch.Tensor, seed: int) -> Group:
    return Group(
        "?",
        [Completion(str(answer), True, [answer]) for answer in answers],
        rewards=[float(answer < VALID) for answer in answers],
        logprobs=[[float(logprobs[answer])] for answer in answers],
        row=row,
        seed=seed,
    )


def _figures(logits: torch.Tensor) -> dict[str, float]:
    shares = logits.softmax(-1)[:VALID]
    valid = shares / shares.sum()
    return {"valid": float(shares.sum()), "valid answers": float(np.exp(-(valid * valid.log()).sum()))}
