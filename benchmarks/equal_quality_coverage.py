"""How often the 95 % interval of diversity at equal quality contains the truth.

    python benchmarks/equal_quality_coverage.py --output benchmarks/results/equal_quality_coverage.json

A method is sampled at three temperatures, the reference at one; on the same inputs, some of which are easy for both.
Quality is a reward (normal) or wins (0 or 1, inputs' chances from a beta distribution); the diversity of an input has a
long tail (exponential). The level lies in the middle of a piece of the curve, or at its middle temperature, where it is
bent ("knot"); "drop" is how much quality falls from one temperature to the next, in standard deviations of an input's
value (normal) or in shares (wins), and "steps" the same in standard errors of the difference of two such means.
Seeds move quality and diversity of both methods; "between" is what they add to the variance of a mean, over what inputs
make of it. "without" counts simulations that have no interval: the curve does not have the level, or too many resamples
do not. The chance error of a coverage of 95 % is 1.3 points with 300 simulations.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from machine import describe_machine
from scipy.stats import beta

from genrlhf.metrics.estimate import mean_estimate
from genrlhf.studies.curves import Point
from genrlhf.studies.equal_quality import diversity_at_quality

DIVERSITIES = (0.2, 0.5, 0.6)


@dataclass(frozen=True)
class Cell:
    """A population: see the module."""

    quality: str
    inputs: int
    level: str
    drop: float
    seeds: int = 1
    between: float = 0.0

    @property
    def means(self) -> tuple[float, float, float]:
        """Quality at the three temperatures."""
        return 0.5 + self.drop, 0.5, 0.5 - self.drop

    @property
    def target(self) -> float:
        """Quality of the reference."""
        return 0.5 if self.level == "knot" else 0.5 - self.drop / 2

    @property
    def truth(self) -> float:
        """Diversity at the level, between the means of the population."""
        return 0.5 if self.level == "knot" else 0.55


def cells() -> Iterator[Cell]:
    """Yield what is simulated."""
    for quality, drops in (("normal", (0.8, 0.4)), ("wins", (0.3, 0.15))):
        for inputs in (50, 200):
            for level in ("middle", "knot"):
                for drop in drops:
                    yield Cell(quality, inputs, level, drop)
        for seeds in (2, 3, 5):
            for between in (0.0, 4.0):
                yield Cell(quality, 100, "middle", drops[0], seeds, between)


def draw(cell: Cell, generator: np.random.Generator) -> tuple[list[Point], Point]:
    """Return the points of a method, and that of the reference."""
    shape, names = (cell.seeds, cell.inputs), tuple(map(str, range(cell.seeds)))
    place, tail = generator.random(cell.inputs), generator.exponential(size=cell.inputs)

    def normal(mean: float, shift: np.ndarray) -> np.ndarray:
        easy = np.sqrt(0.5) * (place - 0.5) * math.sqrt(12)
        values: np.ndarray = mean + shift + easy + math.sqrt(0.5) * generator.normal(size=shape)
        return values

    def wins(mean: float, shift: np.ndarray) -> np.ndarray:
        chances = beta.ppf(place, 2 * mean, 2 * (1 - mean))
        gained = np.where(shift > 0, (1 - chances) * shift / (1 - mean), chances * shift / mean)
        return (generator.random(shape) < chances + gained).astype(float)

    qualities: Callable[[float, np.ndarray], np.ndarray] = normal if cell.quality == "normal" else wins

    def of_seeds(variance: float, limit: float) -> np.ndarray:
        """What a method's seeds add to all of its means, half of which inputs' values would be off by."""
        sd = math.sqrt(cell.between * cell.seeds * variance / cell.inputs)
        return np.clip(sd * generator.normal(size=(cell.seeds, 1)), -limit, limit)

    spread = 0.75 if cell.quality == "normal" else 0.16
    own, theirs = (of_seeds(spread, 0.9 * (0.5 - cell.drop) if cell.quality == "wins" else 9) for _ in range(2))
    moved = of_seeds(0.04, 9)

    def point(temperature: str, quality: float, diversity: float, better: np.ndarray, wider: np.ndarray) -> Point:
        tables = (
            qualities(quality, better),
            wider + diversity * (tail + generator.exponential(size=shape)) / 2,
        )
        figures = [mean_estimate(table.mean(axis=0)) for table in tables]
        return Point(temperature, *figures, *tables, names)

    points = [
        point(temperature, quality, diversity, own, moved)
        for temperature, quality, diversity in zip(("0.5", "0.7", "1.0"), cell.means, DIVERSITIES, strict=True)
    ]
    return points, point("1.0", cell.target, 0.5, theirs, moved)


def simulate(cell: Cell, simulations: int) -> dict[str, float]:
    """Return how often the interval has the truth, how often there is none, and its median width."""
    generator = np.random.default_rng([ord(cell.quality[0]), cell.inputs, cell.seeds, round(100 * cell.drop)])
    inside, without, widths, values, below = 0, 0, [], [], 0
    for number in range(simulations):
        points, target = draw(cell, generator)
        found, why = diversity_at_quality(points, target, seed=number)
        if found is None or why is not None:
            without += 1
            continue
        inside += found.ci[0] <= cell.truth <= found.ci[1]
        below += found.ci[1] < cell.truth
        widths.append(found.ci[1] - found.ci[0])
        values.append(found.value)
    there = max(1, len(widths))
    step = cell.drop / math.sqrt((1.0 if cell.quality == "normal" else 1 / 3) / cell.inputs)
    return {
        "coverage": round(inside / there, 4),
        "below": round(below / there, 4),
        "without": round(without / simulations, 4),
        "bias": round(float(np.mean(values)) - cell.truth, 4) if values else math.nan,
        "width": round(float(np.median(widths)), 3) if widths else math.nan,
        "steps": round(step, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--simulations", type=int, default=300)
    args = parser.parse_args()
    start, rows = time.process_time(), []
    for cell in cells():
        found = simulate(cell, args.simulations)
        rows.append({**asdict(cell), **found})
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    record = {
        "command": "python " + " ".join(sys.argv),
        "simulations": args.simulations,
        "machine": describe_machine(),
        "processor_seconds": round(time.process_time() - start),
        "rows": rows,
    }
    if args.output:
        args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
