"""How often a 95 % interval over seeds and inputs contains the truth, with and without differences between seeds.

    python benchmarks/seeds_coverage.py --output benchmarks/results/seeds_coverage.json

Of every population three intervals: ours (`genrlhf.studies.seeds`); Student's around the mean with Satterthwaite's
degrees of freedom for the same variance, (MS_a + MS_b − MS_e) / (S I); and that of the inputs alone, as of one model.
"between" is σ_a²/S over (σ_b² + σ_e²/S)/I, what seeds add to the variance of the mean over what inputs make of it: 0
where seeds are all alike. "width" is the median width over 2 · 1.96 standard deviations of the figure. The chance error
of a coverage of 95 % is 0.5 points with 2,000 simulations.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.studies.seeds import gap_over_seeds, mean_over_seeds, pooled_over_seeds, share_over_seeds
from genrlhf.types import Estimate

SEEDS, INPUTS, BETWEEN = (2, 3, 5, 10), (25, 200), (0.0, 1.0, 16.0)
Interval = tuple[float, float]
Draw = Callable[[np.random.Generator, int, int, float], tuple[np.ndarray, float]]
"""`(generator, seeds, inputs, between) -> ((S, I) values, the truth)`."""


def normal(generator: np.random.Generator, seeds: int, inputs: int, between: float) -> tuple[np.ndarray, float]:
    """Rewards: inputs as different as the draws of one input."""
    shift = math.sqrt(between * (seeds + 1) / inputs) * generator.normal(size=(seeds, 1))
    return shift + generator.normal(size=inputs) + generator.normal(size=(seeds, inputs)), 0.0


def skewed(generator: np.random.Generator, seeds: int, inputs: int, between: float) -> tuple[np.ndarray, float]:
    """Diversities with a long tail: exponential inputs and draws."""
    shift = math.sqrt(between * (seeds + 1) / inputs) * generator.normal(size=(seeds, 1))
    return shift + generator.exponential(size=inputs) + generator.exponential(size=(seeds, inputs)), 2.0


def wins(mean: float) -> Draw:
    """Return wins of inputs whose chances differ, as a beta distribution's do."""

    def draw(generator: np.random.Generator, seeds: int, inputs: int, between: float) -> tuple[np.ndarray, float]:
        # Var p = m (1 − m) / 3; of an input's wins, given p, m (1 − m) · 2/3 on average.
        chances = generator.beta(2 * mean, 2 * (1 - mean), size=inputs)
        variance = mean * (1 - mean) * (1 / 3 + 2 / (3 * seeds)) / inputs
        sd = math.sqrt(between * variance * seeds)
        shift = np.clip(sd * generator.normal(size=(seeds, 1)), -min(mean, 1 - mean), min(mean, 1 - mean))
        # A seed wins some lost inputs, or loses some won ones, by chance: its mean moves by `shift`.
        gained = np.where(shift > 0, (1 - chances) * shift / (1 - mean), chances * shift / mean)
        return (generator.random((seeds, inputs)) < chances + gained).astype(float), mean

    return draw


def satterthwaite(table: np.ndarray) -> Interval:
    """Return Student's interval with Satterthwaite's degrees of freedom."""
    seeds, inputs = table.shape
    mean, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    a, b = inputs * rows.var(ddof=1), seeds * columns.var(ddof=1)
    e = ((table - rows[:, None] - columns + mean) ** 2).sum() / ((seeds - 1) * (inputs - 1))
    variance = max(a + b - e, a, b)
    if variance == 0:
        return mean, mean
    df = variance**2 / (a**2 / (seeds - 1) + b**2 / (inputs - 1) + e**2 / ((seeds - 1) * (inputs - 1)))
    half = stdtrit(max(df, 1.0), 0.975) * math.sqrt(variance / (seeds * inputs))
    return mean - half, mean + half


def cases() -> Iterator[tuple[str, str, Draw, dict[str, Callable[[np.ndarray], Interval]]]]:
    """Yield figure, population, its draw, and the intervals that are compared."""
    for name, draw in (("normal", normal), ("exponential", skewed)):
        yield (
            "mean",
            name,
            draw,
            {
                "ours": lambda table: mean_over_seeds(table).ci,
                "satterthwaite": satterthwaite,
                "inputs_alone": lambda table: mean_estimate(table.mean(axis=0)).ci,
            },
        )
    for mean in (0.5, 0.95):
        yield (
            "share",
            f"wins, {100 * mean:g} %",
            wins(mean),
            {
                "ours": lambda table: share_over_seeds(table).ci,
                "satterthwaite": satterthwaite,
                "inputs_alone": lambda table: proportion_estimate(table.mean(axis=0)).ci,
            },
        )
    yield "gap", "wins, 50 %, of halves", wins(0.5), {"ours": _gap}
    yield "pooled", "normal, inputs shared", normal, {"ours": _pooled}


def _gap(table: np.ndarray) -> Interval:
    """Return the interval of a gap that is 0: both halves of the inputs have the seeds' shift."""
    half = table.shape[1] // 2
    low, high = gap_over_seeds(table[:, :half], table[:, half:]).ci
    return low + 0.5, high + 0.5


def _pooled(table: np.ndarray) -> Interval:
    """Return the interval of a figure of which a mean and its error are known of every seed."""
    estimates: list[Estimate] = [mean_estimate(row) for row in table]
    return pooled_over_seeds(estimates).ci


def _gap_of(table: np.ndarray) -> float:
    half = table.shape[1] // 2
    return float(table[:, :half].mean() - table[:, half:].mean())


def simulate(
    draw: Draw,
    interval: Callable[[np.ndarray], Interval],
    cell: tuple[int, int, float],
    simulations: int,
) -> Any:
    """Return coverage and width."""
    seeds, inputs, between = cell
    generator = np.random.default_rng([seeds, inputs, round(between)])
    inside, widths, centres = 0, [], []
    for _ in range(simulations):
        table, truth = draw(generator, seeds, inputs, between)
        low, high = interval(table)
        inside += low - 1e-12 <= truth <= high + 1e-12
        widths.append(high - low)
        centres.append(_gap_of(table) if interval is _gap else table.mean())
    width = float(np.median(widths) / (2 * 1.96 * np.std(centres)))
    return {"coverage": round(inside / simulations, 4), "width": round(width, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--simulations", type=int, default=2000)
    args = parser.parse_args()
    start, rows = time.perf_counter(), []
    for figure, population, draw, intervals in cases():
        for seeds in SEEDS:
            for inputs in INPUTS:
                for between in BETWEEN:
                    found = {
                        name: simulate(draw, interval, (seeds, inputs, between), args.simulations)
                        for name, interval in intervals.items()
                    }
                    row = {"figure": figure, "population": population, "seeds": seeds, "inputs": inputs}
                    rows.append({**row, "between": between, **found})
                    shown = "  ".join(f"{k} {100 * v['coverage']:5.1f} ({v['width']:.2f})" for k, v in found.items())
                    print(
                        f"{figure:6} {population:24} S={seeds:2} I={inputs:3} between={between:4g}  {shown}", flush=True
                    )
    record = {
        "simulations": args.simulations,
        "numpy": np.__version__,
        "seconds": round(time.perf_counter() - start),
        "rows": rows,
    }
    if args.output:
        args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
