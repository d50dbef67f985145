"""ILF makes a policy better by feedback that says of a draft what is wrong with it, and not what is right.

Four digits are to be reversed, by a policy that has learnt it in part. Feedback names one wrong place of the draft and
the digit that belongs there; a scripted refiner writes it 7 times of 10, and any digit otherwise; of 5 refinements
the first is taken that has the digit where the feedback says. 300 drafts, 200 steps. `right` is the mean probability of
the right answer to 200 fresh prompts; `targets` the share of what is taught that is right.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._digits import draw, fit, new_model, probabilities

from genrlhf.methods import ILF
from genrlhf.trainers import Completion, Group, Round, SampleAndTuneConfig
from genrlhf.types import Sample

BAR = (
    Claim("right", "ILF", "own drafts", at_least=0.5),
    Claim("right", "ILF", "feedback shuffled", at_least=0.5),
)
SMALL = {"drafts": 80, "steps": 10, "before": 0.12}
# What is taught becomes right more often; 10 steps do not teach it.
SMALL_BAR = (Claim("targets", "ILF", "own drafts", at_least=0.15),)
Rows = list[tuple[str, str]]


class Refiner:
    """Writes the digit that the feedback names where it says, with noise."""

    def stream(self, prompts: Any, n: int, params: Any, seed: int, *, rows: Any = None, done: Any = ()) -> Any:
        for place, asked in enumerate(prompts):
            _, draft, feedback = asked.split("|")
            where, digit = int(feedback[0]), feedback[2]
            texts = []
            for number in range(n):
                dice = random.Random(f"{seed} {place} {number}")
                written = digit if dice.random() < 0.7 else dice.choice("0123456789")
                texts.append(draft[:where] + written + draft[where + 1 :])
            yield place, [Sample(text, "stop", 4) for text in texts]

    def sample(self, prompts: Any, n: int, params: Any, seed: int) -> list[list[str]]:
        return [[each.text for each in samples] for _, samples in self.stream(prompts, n, params, seed)]


Curves = dict[str, list[tuple[int, float]]]


def run(
    seed: int, *, drafts: int = 300, steps: int = 200, before: float = 0.28, curves: Curves | None = None
) -> Figures:
    """Return how often the answer is right, of each arm, and how often what it was taught is.

    `curves` is filled with how often the answer is right after each ten steps, of each arm.
    """
    dice, generator = random.Random(seed), torch.Generator().manual_seed(seed)

    def prompt() -> str:
        return "".join(dice.choice("0123456789") for _ in range(4)) + ":"

    fresh = [(each, each[-2::-1]) for each in (prompt() for _ in range(200))]
    start, learnt = new_model(seed), [(each, each[-2::-1]) for each in (prompt() for _ in range(3000))]
    for turn in range(200):
        if probabilities(start, fresh) >= before:
            break
        fit(start, learnt, steps=10, seed=turn)
    asked = [prompt() for _ in range(drafts)]
    own = draw(start, asked, 4, generator)
    told = [_feedback(x, y, dice) for x, y in zip(asked, own, strict=True)]
    mixed = dice.sample(told, len(told))
    arms: dict[str, Callable[[], Rows]] = {
        "own drafts": lambda: list(zip(asked, own, strict=True)),
        "feedback shuffled": lambda: _rows(asked, own, mixed, 5),
        "ILF, first refinement": lambda: _rows(asked, own, told, 1),
        "ILF": lambda: _rows(asked, own, told, 5),
        "gold": lambda: [(each, each[-2::-1]) for each in asked],
    }
    figures: dict[str, dict[str, float]] = {"start": {"right": probabilities(start, fresh)}}
    for name, make in arms.items():
        rows, model = make(), new_model(seed)
        model.load_state_dict(start.state_dict())
        share = sum(text == x[-2::-1] for x, text in rows) / len(rows)
        curve: list[tuple[int, float]] = []

        def watch(step: int, model: Any = model, curve: Any = curve) -> None:
            if curves is not None and step % 10 == 0:
                curve.append((step, probabilities(model, fresh)))

        fit(model, rows, steps=steps, seed=seed, watch=watch)
        if curves is not None:
            curves[name] = curve
        figures[name] = {"right": probabilities(model, fresh), "targets": share}
    return figures


def _feedback(prompt: str, draft: str, dice: random.Random) -> str:
    """A wrong place and its digit; any place, where none is wrong."""
    right = prompt[-2::-1]
    wrong = [place for place in range(4) if draft[place] != right[place]] or [0, 1, 2, 3]
    place = dice.choice(wrong)
    return f"{place}:{right[place]}"


def _rows(prompts: list[str], drafts: list[str], told: list[str], refinements: int) -> Rows:
    groups = [
        Group(x, [Completion(y, True)], columns={"feedback": words, "draft": y}, row=row)
        for row, (x, y, words) in enumerate(zip(prompts, drafts, told, strict=True))
    ]
    template = "{prompt}|{draft}|{feedback}"
    method = ILF(refiner=Refiner(), scorer=_follows, refinements=refinements, refine_template=template)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        args = SampleAndTuneConfig(folder, use_cpu=True, report_to="none")
        made = method.in_round(Round(Path(folder), 0, (), None, None, args, 0))(groups)
    return [(row["prompt"], row["completion"]) for row in made.rows]


def _follows(prompts: Any, drafts: Any, feedback: Any, refinements: Any) -> list[float]:
    return [float(text[int(words[0])] == words[2]) for words, text in zip(feedback, refinements, strict=True)]
