"""Unlikelihood of sequences takes repeats out of greedy continuations, that of tokens hardly does; it has a price.

Texts are drawn from a sticky Markov chain: 20 letters, each stays with probability .5 or goes on to one of 6 others. A
prefix of 10 letters is continued by 30. The price: samples then repeat far less than the data.
"""

from __future__ import annotations

import copy
import math
import random
from typing import Any

import torch
from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._model import character_tokenizer, fit, new_model, prepare

from genrlhf.methods import Unlikelihood
from genrlhf.ops import repetition_rate
from genrlhf.sampling.autoregressive import generate
from genrlhf.types import SamplingParams

BAR = (
    Claim("greedy seq-rep-4", "sequences, +300", "tokens, +150", at_most=0.7),
    Claim("greedy seq-rep-4", "sequences, +300", "likelihood, +300", at_most=0.7),
)
SMALL = {"base_steps": 100, "arms": {"tokens": (40,), "sequences": (40,)}}
SMALL_BAR = (Claim("greedy seq-rep-4", "sequences, +40", "tokens, +40", at_most=0.85),)
LETTERS, PREFIX, LENGTH, N = "abcdefghijklmnopqrst", 10, 30, 4
ARMS: dict[str, tuple[int, ...]] = {"likelihood": (300,), "tokens": (150, 300), "sequences": (150, 300, 450)}
"""By arm the steps after which it is looked at."""


def run(seed: int, *, base_steps: int = 600, arms: dict[str, tuple[int, ...]] = ARMS) -> Figures:
    """Return repeats of greedy and sampled continuations, and the perplexity of fresh texts, a token."""
    tokenizer, dice = character_tokenizer(LETTERS), random.Random(seed)
    follows = {letter: dice.sample([each for each in LETTERS if each != letter], 6) for letter in LETTERS}

    def text() -> str:
        found = dice.choice(LETTERS)
        while len(found) < PREFIX + LENGTH:
            found += found[-1] if dice.random() < 0.5 else dice.choice(follows[found[-1]])
        return found

    rows = [{"text": text()} for _ in range(4096)]
    split = [{"prompt": row["text"][:1], "completion": row["text"][1:]} for row in rows]
    fresh = torch.tensor([tokenizer(text())["input_ids"] for _ in range(128)])
    base = prepare(new_model(tokenizer, seed), tokenizer, split, steps=base_steps, batch=32, seed=seed)
    shares = {"likelihood": None, "tokens": 0.0, "sequences": 0.5}
    found = {"data": {"sampled seq-rep-4": _repeats(fresh[:, PREFIX:])}, "base": _figures(base, fresh)}
    for name, marks in arms.items():
        share = shares[name]

        def watch(step: int, model: Any, name: str = name, marks: tuple[int, ...] = marks) -> None:
            if step in marks:
                found[f"{name}, +{step}"] = _figures(model.eval(), fresh)
                model.train()

        objective = None if share is None else Unlikelihood(1.0, share, N, PREFIX, LENGTH)
        given: dict[str, Any] = {"steps": marks[-1], "batch": 32, "seed": seed + 1, "objective": objective}
        fit(copy.deepcopy(base), tokenizer, rows, watch=watch, **given)
    return found


def _repeats(ids: torch.Tensor) -> float:
    return float(repetition_rate(ids, N, torch.ones_like(ids, dtype=torch.bool)).mean())


@torch.no_grad()
def _figures(model: Any, fresh: torch.Tensor) -> dict[str, float]:
    found = {}
    for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        begun = fresh[:, :PREFIX]
        params = SamplingParams(LENGTH, min_new_tokens=LENGTH, temperature=temperature)
        options: dict[str, Any] = {"seeds": list(range(len(begun))), "eos_token_ids": [1], "pad_token_id": 0}
        drawn = generate(model, begun, torch.ones_like(begun, dtype=torch.bool), params, **options)
        found[f"{name} seq-rep-4"] = _repeats(drawn.completion_ids)
    logp = model(fresh).logits[:, :-1].log_softmax(-1).gather(-1, fresh[:, 1:].unsqueeze(-1))
    return {**found, "perplexity": math.exp(-float(logp.mean()))}
