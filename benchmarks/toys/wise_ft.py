"""Weights between an early and a late checkpoint of a run: pass@k comes back without a temperature's price in pass@1.

Three digits are to be reversed; of 400 rows a quarter have wrong labels, and the run is long. pass@k is exact, from the
probability of the right output, a mean over prompts that were not trained on.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.toys._bar import Claim, Figures
from benchmarks.toys._model import character_tokenizer, log_likelihoods, new_model, prepare

from genrlhf.models import load_causal_lm
from genrlhf.studies.stages.interpolate import interpolate

BAR = (
    Claim("pass@16", "λ 0.5", "late", at_least=0.82),
    Claim("pass@1", "λ 0.5", "late, T 1.5", at_least=0.58),
)
SMALL = {"early": 150, "late": 300}
# What is known beforehand, whatever the checkpoints: the ends.
SMALL_BAR = (
    Claim("distance of λ 1 from late", "ends", at_most=1e-6),
    Claim("distance of λ 0 from early", "ends", at_most=1e-6),
)
ROWS, PROMPTS = 400, 1000


def run(seed: int, *, early: int = 300, late: int = 1800) -> Figures:
    """Return pass@1, 16 and 64 on prompts that were not trained on."""
    tokenizer, dice = character_tokenizer("0123456789:"), random.Random(seed)
    prompts = [f"{number:03d}:" for number in range(PROMPTS)]
    dice.shuffle(prompts)
    rows = [{"prompt": each, "completion": each[-2::-1]} for each in prompts[:ROWS]]
    for row in rows[: ROWS // 4]:
        row["completion"] = f"{dice.randrange(1000):03d}"
    held_out = prompts[ROWS:]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = prepare(new_model(tokenizer, seed), tokenizer, rows, steps=early, seed=seed)
        model.save_pretrained(place / "early"), tokenizer.save_pretrained(place / "early")
        found["early"] = _passes(model, tokenizer, held_out)
        model = prepare(model, tokenizer, rows, steps=late - early, seed=seed)
        model.save_pretrained(place / "late"), tokenizer.save_pretrained(place / "late")
        found["late"] = _passes(model, tokenizer, held_out)
        for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
            target = place / str(weight)
            target.mkdir()
            interpolate(target, str(place / "early"), str(place / "late"), weight)
            found[f"λ {weight}"] = _passes(load_causal_lm(str(target)).eval(), tokenizer, held_out)
    for temperature in (0.7, 1.5, 2.0):
        found[f"late, T {temperature}"] = _passes(model, tokenizer, held_out, temperature)
    ends = {"early": found.pop("λ 0.0"), "late": found.pop("λ 1.0")}
    distances = {name: max(abs(end[k] - found[name][k]) for k in end) for name, end in ends.items()}
    found["ends"] = {f"distance of λ {int(name == 'late')} from {name}": value for name, value in distances.items()}
    return found


def _passes(model: Any, tokenizer: Any, prompts: list[str], temperature: float = 1.0) -> dict[str, float]:
    right = log_likelihoods(model, tokenizer, prompts, [each[-2::-1] for each in prompts], temperature).double().exp()
    return {f"pass@{k}": float((1 - (1 - right) ** k).mean()) for k in (1, 16, 64)}
