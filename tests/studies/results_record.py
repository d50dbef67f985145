"""A record of results as a study of several methods, temperatures and seeds leaves it, with its files of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrlhf.data.files import write_rows
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.metrics.preference import generalisation_gap
from genrlhf.studies.results import Curve, Figures, MethodResults, Results, temperature_key, write_results

METHODS: dict[str, tuple[str, str, str, bool, float]] = {
    "sft": ("SFT", "", "supervised", False, 0.0),
    "ppo": ("PPO", "Schulman et al. 2017", "rollout", False, 1.2),
    "min_p": ("SFT, min-p 0.1", "Nguyen et al. 2024", "", True, 0.3),
    "best_of_n": ("best-of-4", "Nakano et al. 2021", "", True, 0.8),
}
"""Label, paper, loop, whether it is free, and how much quality it gains."""

HOSTILE = "</script><script>alert(1)</script> & <img src=x onerror=alert(2)>"
"""The first output of every file: what a model can write."""


def example_results(
    *, methods: Sequence[str] = tuple(METHODS), temperatures: Sequence[float] = (0.5, 1.0), seeds: int = 2, n: int = 20
) -> Results:
    """Return a record whose figures are made up: quality falls and diversity rises with the temperature."""
    records: dict[str, MethodResults] = {}
    curves: dict[str, Curve] = {}
    for place, name in enumerate(methods):
        label, paper, loop, free, gain = METHODS[name]
        figures = {temperature_key(t): _figures(gain, t, seeds, n, place) for t in temperatures}
        records[name] = {"label": label, "paper": paper, "loop": loop, "free": free, "temperatures": figures}
        points: list[Any] = [
            {
                "temperature": key,
                "quality": one["pvr"]["id"],
                "diversity": one["diversity"]["per_input"]["ead"],
                "on_front": place % 2 == 0,
                "dominated_by": ["best_of_n"] if name == "ppo" and "best_of_n" in methods else [],
            }
            for key, one in figures.items()
        ]
        curves[name] = {
            "points": points,
            "at_reference_quality": points[0]["diversity"] if place else None,
            "why_not": None if place else "its points are all worse than the reference",
            "dominated_by": ["best_of_n"] if name == "ppo" and "best_of_n" in methods else [],
        }
    return {
        "title": "four methods on the embedded task",
        "sets": ["id", "ood"],
        "quality": "pvr",
        "diversity": "per_input.ead",
        "reference": "sft" if "sft" in methods else None,
        "methods": records,
        "curves": curves,
        "outputs": [
            {
                "method": name,
                "temperature": temperature_key(t),
                "seed": seed,
                "set": where,
                "file": f"outputs/{name}-{temperature_key(t)}-{where}-{seed}.jsonl",
            }
            for name in methods
            for t in temperatures
            for where in ("id", "ood")
            for seed in range(seeds)
        ],
        "warnings": ["3 of 20 outputs of ppo at temperature 0.5 are empty."],
        "settings": {"n": 4, "temperatures": list(temperatures), "model": {"name": "base", "digest": "0" * 64}},
        "versions": {"genrlhf": "0.1.0", "torch": "2.13.0"},
        "seconds": 12.5,
    }


def write_example(folder: Path, **given: Any) -> Results:
    """Write such a record and its outputs to `folder`, and return the record."""
    results = example_results(**given)
    for place, outputs in enumerate(results["outputs"]):
        rows = [
            {
                "prompt": f"SUBREDDIT: r/a TITLE: number {number} of {outputs['set']} TL;DR:",
                "outputs": [
                    HOSTILE if not (number or sample) else f"output {sample} of input {number}, file {place}"
                    for sample in range(4)
                ],
                "reference": f"reference {number}",
                "dataset": outputs["set"],
            }
            for number in range(6)
        ]
        write_rows(rows, folder / outputs["file"])
    write_results(results, folder)
    return results


def _figures(gain: float, temperature: float, seeds: int, n: int, place: int) -> Figures:
    draw = np.random.default_rng([place, round(10 * temperature)])
    figures = _one(draw, gain, temperature, n)
    return {**figures, "seeds": {str(seed): _one(draw, gain, temperature, n) for seed in range(seeds)}}


def _one(draw: np.random.Generator, gain: float, temperature: float, n: int) -> Figures:
    chance = 1 / (1 + np.exp(temperature - gain))
    pvr = {where: proportion_estimate(draw.random(n) < chance - shift) for where, shift in (("id", 0), ("ood", 0.1))}
    gap = generalisation_gap(pvr["id"], pvr["ood"])
    ead = np.clip(0.3 + 0.4 * temperature - 0.1 * gain + 0.05 * draw.normal(size=n), 0, 1)
    return {
        "pvr": pvr,
        "gaps": {"ood": gap},
        "gap": gap,
        "reward": {where: mean_estimate(gain + draw.normal(size=n)) for where in ("id", "ood")},
        "kl": mean_estimate(np.abs(gain + 0.1 * draw.normal(size=n))),
        "diversity": {
            "per_input": {"ead": mean_estimate(ead), "distinct_2": mean_estimate(ead / 2)},
            "across_input": {"ead": mean_estimate(np.sqrt(ead))},
        },
    }
