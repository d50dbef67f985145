"""Distillation of a context learns the teacher's distribution from few samples; cross-entropy learns the samples.

Two digits are written. Without the context the base is uniform; with it y1 is a plus 0, 1 or 2 (.5, .3, .2), and y2 is
b + y1 with probability .7. 256 completions are drawn once from the model with the context. KL(teacher ‖ student) of a
whole completion is exact, a mean over fresh prompts.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import torch
from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._model import character_tokenizer, fit, new_model, next_token, prepare

from genrlhf.methods import PromptDistillation

BAR = (
    Claim("KL", "distillation", "cross-entropy", at_most=0.05),
    Claim("KL", "distillation, top 3 and tail", "cross-entropy", at_most=0.1),
)
SMALL = {"base_steps": 350, "steps": 100, "arms": ("cross-entropy", "distillation")}
SMALL_BAR = (Claim("KL", "distillation", "cross-entropy", at_most=0.3),)
DIGITS, CONTEXT = "0123456789", "C"
ARMS = ("cross-entropy", "distillation", "distillation, top 3 and tail")


def run(seed: int, *, base_steps: int = 800, steps: int = 400, arms: tuple[str, ...] = ARMS) -> Figures:
    """Return KL in nats a completion, at the end and at the best of all tenths of the steps."""
    tokenizer, dice = character_tokenizer(DIGITS + CONTEXT + ":"), random.Random(seed)
    base = prepare(new_model(tokenizer, seed), tokenizer, _texts(dice, 8192), steps=base_steps, batch=128, seed=seed)
    fresh = [_prompt(dice) for _ in range(100)]
    drawn = _drawn(base, tokenizer, [_prompt(dice) for _ in range(256)], seed)
    objectives = {
        "cross-entropy": None,
        "distillation": PromptDistillation(CONTEXT),
        "distillation, top 3 and tail": PromptDistillation(CONTEXT, top_k=3),
    }
    found: dict[str, dict[str, float]] = {"before": {"KL": _kl(base, base, tokenizer, fresh)}}
    for name in arms:
        values: list[float] = []

        def watch(step: int, student: Any, values: list[float] = values) -> None:
            if step % max(1, steps // 10) == 0:
                values.append(_kl(base, student.eval(), tokenizer, fresh))
                student.train()

        given: dict[str, Any] = {"objective": objectives[name], "steps": steps, "seed": seed, "watch": watch}
        fit(copy.deepcopy(base), tokenizer, drawn, **given)
        found[name] = {"KL": values[-1], "KL, best stop": min(values)}
    return found


def _prompt(dice: random.Random) -> str:
    # Two digits that say nothing, so that there are 10,000 prompts.
    return "".join(dice.choice(DIGITS) for _ in range(4)) + ":"


def _texts(dice: random.Random, count: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        prompt, with_context = _prompt(dice), number % 2 == 0
        first, second = dice.randrange(10), dice.randrange(10)
        if with_context:
            first = (int(prompt[0]) + dice.choices((0, 1, 2), (5, 3, 2))[0]) % 10
            second = (int(prompt[1]) + first) % 10 if dice.random() < 0.7 else second
        rows.append({"prompt": (CONTEXT if with_context else "") + prompt, "completion": f"{first}{second}"})
    return rows


def _drawn(model: Any, tokenizer: Any, prompts: list[str], seed: int) -> list[dict[str, Any]]:
    """Return two digits behind each prompt as the model with the context draws them."""
    generator, texts = torch.Generator().manual_seed(seed), [CONTEXT + prompt for prompt in prompts]
    for _ in range(2):
        p = next_token(model, tokenizer, texts)[:, 2:12].exp()
        texts = [
            text + DIGITS[i] for text, i in zip(texts, p.multinomial(1, generator=generator).squeeze(1), strict=True)
        ]
    return [{"prompt": prompt, "completion": text[-2:]} for prompt, text in zip(prompts, texts, strict=True)]


def _kl(teacher: Any, student: Any, tokenizer: Any, prompts: list[str]) -> float:
    """Return KL of whole completions: of the first digit, and of what follows each as likely as the teacher has it."""

    def both(ends: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        texts = [prompt + end for prompt in prompts for end in ends]
        p = next_token(teacher, tokenizer, [CONTEXT + text for text in texts])
        return p, next_token(student, tokenizer, texts)

    p, q = both([""])
    first = (p.exp() * (p - q)).sum(-1)
    weight = p[:, 2:12].exp()
    p, q = both(list(DIGITS))
    second = (p.exp() * (p - q)).sum(-1).view(len(prompts), 10)
    return float((first + (weight * second).sum(-1)).mean())
