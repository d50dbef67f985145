"""HIR learns from failures what filtering on success has too few right samples for.

(a + b) mod 10 for 80 of the 100 pairs, from a model that is uniform behind the instructions G (right) and B (wrong); 8
rounds of 4 samples a pair, drawn behind G, and 120 steps of Adam each, from the last round's model. `right` is the
mean probability of the right digit on the 80 pairs, asked with G; `asked B` with B; `held out` on the other 20, with G.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._digits import draw, fit, new_model, probabilities

from genrlhf.methods import HIR
from genrlhf.trainers import Completion, Group

BAR = (Claim("right", "HIR", "own samples", at_least=0.5), Claim("right", "HIR", "relabels shuffled", at_least=0.5))
SMALL = {"rounds": 3, "steps": 40, "pairs": 8, "base": 40}
SMALL_BAR = (Claim("right", "HIR", "own samples", at_least=0.25),)
Rows = list[tuple[str, str]]


def run(seed: int, *, rounds: int = 8, steps: int = 120, pairs: int = 80, base: int = 200) -> Figures:
    """Return the probability of the right digit of each arm."""
    dice = random.Random(seed)
    every = [f"{a}+{b}=" for a in range(10) for b in range(10)]
    dice.shuffle(every)
    known, fresh = every[:pairs], every[pairs:]
    uniform = [(f"{mark}{pair}", str(digit)) for mark in "GB" for pair in every for digit in range(10)]
    start = fit(new_model(seed), uniform, steps=base, seed=seed, batch=200)

    def shuffled(rows: Rows) -> Rows:
        marks = [prompt[0] for prompt, _ in rows]
        dice.shuffle(marks)
        return [(mark + prompt[1:], text) for mark, (prompt, text) in zip(marks, rows, strict=True)]

    arms: dict[str, Callable[[Rows], Rows]] = {
        "own samples": lambda rows: [("G" + prompt[1:], text) for prompt, text in rows],
        "relabels shuffled": shuffled,
        "filter on success": lambda rows: [row for row in rows if row[0][0] == "G"],
        "HIR": lambda rows: rows,
    }
    figures = {"start": _figures(start, known, fresh)}
    for name, change in arms.items():
        model, generator = new_model(seed), torch.Generator().manual_seed(seed)
        model.load_state_dict(start.state_dict())
        for number in range(rounds):
            rows = change(
                _relabelled(known, draw(model, [f"G{pair}" for pair in known for _ in range(4)], 1, generator))
            )
            fit(model, rows, steps=steps, seed=seed * rounds + number)
        figures[name] = _figures(model, known, fresh)
    return figures


def _relabelled(pairs: list[str], drawn: list[str]) -> Rows:
    """The rows that HIR makes of four samples of each pair."""
    groups = [
        Group(pair, [Completion(text, True) for text in drawn[4 * row : 4 * row + 4]], row=row)
        for row, pair in enumerate(pairs)
    ]
    made = HIR(_which, instructions=["G", "B"], template="{instruction}{prompt}")(groups)
    return [(row["prompt"], row["completion"].text) for row in made.rows]


def _which(prompts: list[str], completions: list[str]) -> list[str]:
    return ["G" if text == _right(prompt) else "B" for prompt, text in zip(prompts, completions, strict=True)]


def _right(pair: str) -> str:
    return str((int(pair[0]) + int(pair[2])) % 10)


def _figures(model: object, known: list[str], fresh: list[str]) -> dict[str, float]:
    asked = {"right": ("G", known), "asked B": ("B", known), "held out": ("G", fresh)}
    return {
        name: probabilities(model, [(mark + pair, _right(pair)) for pair in pairs])  # type: ignore[arg-type]
        for name, (mark, pairs) in asked.items()
    }
