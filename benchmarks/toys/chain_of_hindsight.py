"""Chain of Hindsight learns from 4,000 bad outputs what 48 good ones are too few for, and writes either when asked.

Four digits are to be reversed; a bad output has the last digit one too high. The share of right and of bad outputs is
their exact probability, a mean over fresh prompts.
"""

from __future__ import annotations

import random
from typing import Any

from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._model import character_tokenizer, fit, log_likelihoods, new_model

from genrlhf.methods import ChainOfHindsight

BAR = (
    Claim("right", "CoH, asked for good", "SFT on all", at_least=0.9),
    Claim("right", "CoH, asked for good", "SFT on the good", at_least=0.9),
    Claim("right", "CoH, asked for good", "CoH, asked for bad", at_least=0.9),
)
# What is right is not learnt in seconds; that the two are told apart is.
SMALL = {"steps": 100, "bad": 400, "digits": 2, "sft": False}
SMALL_BAR = (Claim("right", "CoH, asked for good", "CoH, asked for bad", at_least=0.5),)
GOOD, BAD = "+", "-"


def run(seed: int, *, steps: int = 900, bad: int = 4000, digits: int = 4, sft: bool = True) -> Figures:
    """Return the probability of the right and of the bad output."""
    tokenizer, dice = character_tokenizer("0123456789:" + GOOD + BAD), random.Random(seed)

    def prompt() -> str:
        return "".join(dice.choice("0123456789") for _ in range(digits)) + ":"

    good_rows = [(each, _right(each)) for each in (prompt() for _ in range(48))]
    bad_rows = [(each, _wrong(each)) for each in (prompt() for _ in range(bad))]
    fresh = [prompt() for _ in range(200)]
    options: dict[str, Any] = {"steps": steps, "batch": 72, "learning_rate": 1.5e-3, "seed": seed}

    def plain(rows: list[tuple[str, str]]) -> dict[str, float]:
        learnt = [{"prompt": x, "completion": y} for x, y in rows]
        return _figures(fit(new_model(tokenizer, seed), tokenizer, learnt, **options), tokenizer, fresh)

    found = {"SFT on the good": plain(good_rows), "SFT on all": plain(good_rows + bad_rows)} if sft else {}
    # In a batch of 72 on average 56 bad ones, 8 good ones and 8 chains.
    often = max(1, round(bad / 7 / 48))
    rows: list[dict[str, Any]] = [{"prompt": x, "completion": y, "label": False} for x, y in bad_rows]
    rows += [{"prompt": x, "completion": y, "label": True} for x, y in good_rows] * often
    rows += [{"prompt": x, "chosen": y, "rejected": _wrong(x)} for x, y in good_rows] * often
    names = ("prompt", "completion", "label", "chosen", "rejected")
    rows = [{name: row.get(name) for name in names} for row in rows]
    objective = ChainOfHindsight([GOOD], [BAD], chain_share=1.0)
    model = fit(new_model(tokenizer, seed), tokenizer, rows, objective=objective, **options)
    for name, feedback in (("good", GOOD), ("bad", BAD)):
        found[f"CoH, asked for {name}"] = _figures(model, tokenizer, fresh, feedback)
    return found


def _right(prompt: str) -> str:
    return prompt[-2::-1]


def _wrong(prompt: str) -> str:
    right = _right(prompt)
    return right[:-1] + str((int(right[-1]) + 1) % 10)


def _figures(model: Any, tokenizer: Any, prompts: list[str], feedback: str = "") -> dict[str, float]:
    asked = [prompt + feedback for prompt in prompts]
    outputs = {"right": [_right(prompt) for prompt in prompts], "bad": [_wrong(prompt) for prompt in prompts]}
    return {
        name: float(log_likelihoods(model, tokenizer, asked, texts).exp().mean()) for name, texts in outputs.items()
    }
