"""How often the 95 % intervals of all figures contain the truth, in populations where it is known.

    python benchmarks/coverage.py --output benchmarks/results/coverage.json
    python benchmarks/coverage.py --figures "win rate" gap --simulations 500
    python benchmarks/coverage.py --figures pass@ forgetting "shift of" --sizes 10 25 50 200

Every line is a figure in a population: per n the share of simulations whose interval contains the truth, and where that
is more than 97 %, by how much the interval is wider than 2 · 1.96 standard deviations of the figure over the
simulations, which nobody knows who has one sample. Where the truth is an expected value that has no formula (diversity
across inputs and pooled, which depends on how many inputs there are) it is the mean over the simulations. The chance
error of a coverage of 95 % is 0.5 points with 2,000 simulations and 1.5 with 200.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parent))
from _populations import LENGTHS, MEANS, SHARES, TEXTS, Draw, Texts
from _shifts import shift_cases
from _solutions import solution_cases

from genrlhf.metrics import (
    EAD,
    DistinctN,
    NgramCosine,
    SentenceBERT,
    VendiScore,
    across_input_diversity,
    compare_diversity,
    per_input_diversity,
    pooled_diversity,
)
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.paired import paired_shares
from genrlhf.metrics.preference import (
    generalisation_gap,
    generalisation_gaps,
    length_controlled,
    validate_judge,
    win_rate,
)
from genrlhf.types import DiversityMetric, Estimate

SIZES = (10, 25, 50, 200, 500)
Simulate = Callable[[np.random.Generator, int], tuple[Estimate, float | None]]
"""`(generator, n) -> (estimate, truth)`; None: the expected value of the estimate."""


@dataclass(frozen=True)
class Case:
    """A figure in a population.

    Attributes:
        figure: what is estimated, and by which function.
        population: what it is drawn from.
        simulate: draws a sample and estimates.
        share: of the simulations, as long as one takes.
        largest: n that is still simulated.
    """

    figure: str
    population: str
    simulate: Simulate
    share: float = 1.0
    largest: int = SIZES[-1]


class Lookup:
    """A metric whose value of an input is what its first output says, so that values have a known mean."""

    name = "lookup"
    higher_is_more_diverse = True

    def __init__(self, bounds: tuple[float, float] | None = None) -> None:
        self.bounds = bounds

    def __call__(self, texts: Any) -> float:
        return float(texts[0])


def _lookup(name: str) -> Lookup:
    """Return the metric of a population by its name, which says whether its values are known to lie in [0, 1]."""
    return Lookup((0.0, 1.0) if "at 1" in name or "eighths" in name or "beta" in name else None)


def _per_input(name: str, draw: Draw) -> Simulate:
    metric = _lookup(name)

    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, float]:
        values, truth = draw(generator, n)
        return per_input_diversity([[repr(float(value))] for value in values], metric), truth

    return simulate


def _difference(name: str, draw: Draw) -> Simulate:
    """Two models that share what their inputs are like: the second is less diverse on some of them."""

    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, float]:
        (first, mean), (second, other) = draw(generator, n), draw(generator, n)
        same = generator.random(n) < 0.5
        second = np.where(same, first, second)
        sides = [[[repr(float(value))] for value in side] for side in (first, second)]
        return compare_diversity(*sides, _lookup(name)).difference, (other - mean) * 0.5

    return simulate


def _of_texts(texts: Texts, outputs: int, figure: Callable[[list[list[str]]], Estimate]) -> Simulate:
    return lambda generator, n: (figure(texts(generator, n, outputs)), None)


def _embedded(metric: Callable[[Any], DiversityMetric], level: Callable[..., Estimate]) -> Simulate:
    """Texts whose embeddings are drawn around few directions."""

    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, None]:
        centres = generator.choice([-1.0, 1.0], size=(n, 1)) * np.array([[1.5, 0, 0, 0, 0, 0]])
        vectors = centres + generator.normal(size=(n, 6)) + np.array([[0, 1, 0, 0, 0, 0]])
        found = metric(lambda asked: vectors[[int(text) for text in asked]])
        return level([[str(number)] for number in range(n)], found), None

    return simulate


def _less_collapsed(generator: np.random.Generator, n: int) -> tuple[Estimate, None]:
    first, second = TEXTS["topics"](generator, n, 1), TEXTS["topics"](generator, n, 1)
    same = generator.random(n) < 0.5
    mixed = [a if keep else b for a, b, keep in zip(first, second, same, strict=True)]
    return compare_diversity(first, mixed, DistinctN(1), level="across_input").difference, None


def _win_rate(draw: Draw) -> Simulate:
    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, float]:
        values, truth = draw(generator, n)
        return _judged(values), truth

    return simulate


def _judged(values: np.ndarray) -> Estimate:
    """Return the win rate of outputs that say how much they are preferred."""

    def judge(prompts: Any, first: Any, second: Any) -> list[float]:
        return [2 - float(a) if b == "" else 1 + float(b) for a, b in zip(first, second, strict=True)]

    n = len(values)
    return win_rate([str(number) for number in range(n)], [repr(float(value)) for value in values], [""] * n, judge)


def _gap(inside: Draw, outside: Draw, ratio: float = 1.0) -> Simulate:
    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, float]:
        (first, mean), (second, other) = inside(generator, n), outside(generator, max(2, int(ratio * n)))
        return generalisation_gap(_judged(first), _judged(second)), mean - other

    return simulate


def _paired_shares(draw: Draw) -> Simulate:
    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, float]:
        (first, mean), (second, other) = draw(generator, n), draw(generator, n)
        same = generator.random(n) < 0.6
        return paired_shares(first, np.where(same, first, second)).difference, 0.4 * (other - mean)

    return simulate


def _growth(generator: np.random.Generator, n: int) -> tuple[Estimate, float]:
    """Three sets out of distribution; the win rate falls by 0.3 per shift of 1 from 0.8."""
    shifts = {"near": 0.3, "farther": 0.6, "far": 1.0}
    rates = [proportion_estimate(generator.random(n) < 0.8 - 0.3 * x) for x in (0.0, *shifts.values())]
    found = generalisation_gaps(rates[0], dict(zip(shifts, rates[1:], strict=True)), shifts=shifts).per_shift
    assert found is not None
    return found, 0.3


def _length_controlled(draw: Callable[..., Any]) -> Simulate:
    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, float]:
        wins, lengths, difficulty, truth = draw(generator, n)
        return length_controlled(wins, lengths, difficulty=difficulty), truth

    return simulate


def _agreement(field: str, right: float) -> Simulate:
    """Three humans who agree with what is better with chance 0.8, and a judge who does with `right`."""

    def simulate(generator: np.random.Generator, n: int) -> tuple[Estimate, None]:
        better = generator.integers(1, 3, n)
        sides = {"output_1": "a", "generator_1": "old", "output_2": "bb", "generator_2": "new"}

        def said(name: str, chance: float) -> list[dict[str, Any]]:
            wrong = generator.random(n) >= chance
            given = np.where(wrong, 3 - better, better)
            return [
                {"instruction": str(row), **sides, "annotator": name, "preference": int(preference)}
                for row, preference in enumerate(given)
            ]

        humans = [row for name in ("ann", "ben", "cai") for row in said(name, 0.8)]
        found = getattr(validate_judge(said("judge", right), humans)["all"], field)
        return found, None

    return simulate


def cases() -> Iterator[Case]:
    """Yield every figure in every population."""
    for name, draw in MEANS.items():
        yield Case("per input", name, _per_input(name, draw))
    # The sign-flip test that comes with it takes long.
    for name in ("normal", "very skewed, heavy (log-normal)", "near 0 (beta 0.3, 3)", "90 % at 1"):
        yield Case("paired difference per input", name, _difference(name, MEANS[name]), 0.25)
    for name, texts in TEXTS.items():
        yield Case("per input, EAD of texts", name, _of_texts(texts, 4, lambda o: per_input_diversity(o, EAD())), 0.1)
        for metric in (DistinctN(1), EAD(), NgramCosine(1)):
            across = _of_texts(texts, 1, lambda outputs, metric=metric: across_input_diversity(outputs, metric))
            yield Case(f"across inputs, {metric.name}", name, across, 0.2)
        pooled = _of_texts(texts, 3, lambda outputs: pooled_diversity(outputs, DistinctN(1)))
        yield Case("pooled, distinct_n", name, pooled, 0.1)
    yield Case("across inputs, sentence_bert", "two directions", _embedded(SentenceBERT, across_input_diversity), 0.2)
    yield Case("across inputs, vendi", "two directions", _embedded(VendiScore, across_input_diversity), 0.1, 50)
    yield Case("paired difference across inputs, distinct_n", "topics", _less_collapsed, 0.1)
    for name, draw in SHARES.items():
        if "pass rates" in name:
            rates = lambda g, n, draw=draw: (lambda v: (proportion_estimate(v[0]), v[1]))(draw(g, n))  # noqa: E731
            yield Case("pass rate", name, rates)
            continue
        yield Case("win rate", name, _win_rate(draw), 0.5)
        yield Case("gap", name, _gap(draw, draw), 0.25)
        yield Case("paired difference of win rates", name, _paired_shares(draw), 0.25)
    yield Case("gap", "0.95 to 1 less near ½, 4 n", _gap(SHARES["0.95 to 1"], SHARES["near ½"], 4), 0.25)
    yield Case("gap per shift", "three sets", _growth)
    for name, lengths in LENGTHS.items():
        yield Case("win rate at equal lengths", name, _length_controlled(lengths), 0.5)
    yield Case("judge: accuracy", "right in 0.7", _agreement("accuracy", 0.7), 0.1)
    yield Case("judge: accuracy", "right in 0.97", _agreement("accuracy", 0.97), 0.1)
    yield Case("judge: human agreement", "right in 0.8", _agreement("human_agreement", 0.8), 0.1)
    yield Case("judge: bias", "right in 0.97", _agreement("bias", 0.97), 0.1)
    for figure, population, simulate, share in (*solution_cases(), *shift_cases()):
        yield Case(figure, population, simulate, share, 200)


def measure(case: Case, n: int, simulations: int, seed: int = 0) -> dict[str, Any]:
    """Return how often a case's interval contains the truth, and how wide it is."""
    generator = np.random.default_rng([seed, n, *case.figure.encode(), *case.population.encode()])
    found = [case.simulate(generator, n) for _ in range(simulations)]
    values = np.array([estimate.value for estimate, _ in found])
    truths = np.array([values.mean() if truth is None else truth for _, truth in found])
    ends = np.array([estimate.ci for estimate, _ in found])
    # A truth at a bound is reached but for a rounding. Where there is no interval, nothing is claimed.
    given = np.isfinite(ends).all(axis=1)
    inside = ((ends[:, 0] <= truths + 1e-9) & (truths - 1e-9 <= ends[:, 1]))[given]
    oracle = 2 * 1.959964 * float((values - truths).std())
    covered, width = float(inside.mean()), float(np.mean((ends[:, 1] - ends[:, 0])[given]))
    return {
        "coverage": covered,
        "error": math.sqrt(max(covered * (1 - covered), 1 / len(inside)) / len(inside)),
        "simulations": simulations,
        "without_interval": 1 - float(given.mean()),
        "width": width,
        "excess_width": width / oracle - 1 if oracle else None,
    }


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", nargs="+", metavar="FIGURE", help="only those whose name begins so")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="N")
    parser.add_argument("--simulations", type=int, default=2000, help="at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", metavar="FILE", help="write a JSON record")
    return parser.parse_args()


def main() -> None:
    """Measure, and print a line of a Markdown table for every case."""
    args = parse_args()
    from machine import describe_machine

    start, records = time.process_time(), []
    print("| figure | population |" + "".join(f" {n} |" for n in args.sizes))
    print("|---|---|" + "---|" * len(args.sizes))
    for case in cases():
        if args.figures and not any(case.figure.startswith(figure) for figure in args.figures):
            continue
        by_size: dict[str, Any] = {}
        for n in args.sizes:
            if n <= case.largest:
                # Large samples take long, and their intervals are the least in doubt.
                share = case.share * min(1.0, math.sqrt(50 / n))
                by_size[str(n)] = measure(case, n, max(100, int(args.simulations * share)), args.seed)
        records.append({"figure": case.figure, "population": case.population, "by_n": by_size})
        print(f"| {case.figure} | {case.population} |" + "".join(_cell(by_size.get(str(n))) for n in args.sizes))
        sys.stdout.flush()
    seconds = time.process_time() - start
    print(f"\n{seconds:.0f} seconds of one core", file=sys.stderr)
    if args.output:
        record = {
            "command": "python " + " ".join(sys.argv),
            "seconds": round(seconds, 1),
            "machine": describe_machine(),
            "cases": records,
        }
        Path(args.output).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return " |"
    excess = found["excess_width"]
    wider = "" if excess is None or found["coverage"] <= 0.97 else f" ({100 * excess:+.0f} %)"
    none = found["without_interval"]
    return f" {100 * found['coverage']:.1f}{wider}" + (f", none in {100 * none:.1f} %" if none > 0 else "") + " |"


if __name__ == "__main__":
    main()
