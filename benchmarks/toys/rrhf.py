"""RRHF learns from all samples of a prompt, so that it comes further than imitation of the best one alone.

A model writes a digit v and then the prompt's digit; the reward is v. Four samples of each prompt are drawn once from a
base that writes v uniformly; p(9), the mean of v and the entropy of v are exact.
"""

from __future__ import annotations

import copy
import random

import torch
from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._model import character_tokenizer, fit, new_model, next_token, prepare

from genrlhf.methods import RRHF

BAR = (Claim("p(9)", "w 1", "best only (w 0)", at_least=0.4),)
# At a size of seconds too the one is no better than the other; both are better than the base.
SMALL = {"base_steps": 100, "steps": 50}
SMALL_BAR = (Claim("p(9)", "w 1", "base", at_least=0.2),)
DIGITS = "0123456789"


def run(seed: int, *, base_steps: int = 400, steps: int = 300, weights: tuple[float, ...] = (0.0, 1.0)) -> Figures:
    """Return figures of the first digit, a mean over prompts."""
    tokenizer, dice = character_tokenizer(DIGITS + ":"), random.Random(seed)
    uniform = [{"prompt": f"{d}:", "completion": f"{v}{d}"} for d in DIGITS for v in DIGITS] * 4
    base = prepare(new_model(tokenizer, seed), tokenizer, uniform, steps=base_steps, seed=seed)
    groups = []
    for _ in range(256):
        d = dice.choice(DIGITS)
        values = [dice.choice(range(10)) for _ in range(4)]
        groups.append(
            {"prompt": f"{d}:", "completions": [f"{v}{d}" for v in values], "rewards": [float(v) for v in values]}
        )

    def arm(weight: float) -> dict[str, float]:
        return _figures(
            fit(copy.deepcopy(base), tokenizer, groups, steps=steps, seed=seed, objective=RRHF(weight)), tokenizer
        )

    named = {0.0: "best only (w 0)", 1.0: "w 1", 100.0: "w 100"}
    return {"base": _figures(base, tokenizer), **{named[weight]: arm(weight) for weight in weights}}


def _figures(model: object, tokenizer: object) -> dict[str, float]:
    logp = next_token(model, tokenizer, [f"{d}:" for d in DIGITS])[:, 2:12]  # type: ignore[arg-type]
    p = logp.exp()
    mean = (p * torch.arange(10.0)).sum(-1)
    return {"p(9)": float(p[:, 9].mean()), "E[v]": float(mean.mean()), "entropy": float(-(p * logp).sum(-1).mean())}
