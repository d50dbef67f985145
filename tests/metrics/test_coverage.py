"""A small run of `benchmarks/coverage.py`: the intervals of all kinds of figures contain the truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    specification = importlib.util.spec_from_file_location("coverage_of_intervals", FILE)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["coverage_of_intervals"] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("figure", "population", "n", "simulations"),
    [
        ("per input", "very skewed (gamma ½)", 25, 300),
        ("per input", "heavy tails (t, 3 df)", 10, 300),
        ("per input", "90 % at 1", 10, 300),
        ("paired difference per input", "near 0 (beta 0.3, 3)", 10, 60),
        ("across inputs, distinct_n", "topics", 25, 80),
        ("across inputs, sentence_bert", "two directions", 25, 80),
        ("pooled, distinct_n", "collapsed", 10, 80),
        ("win rate", "0.95 to 1", 10, 300),
        ("win rate", "90 % ties", 10, 300),
        ("win rate", "by degree, near 1 (beta 1, 0.1)", 25, 300),
        ("paired difference of win rates", "half ties", 25, 60),
        ("gap", "near ½", 10, 300),
        ("gap", "0.95 to 1 less near ½, 4 n", 10, 300),
        ("gap per shift", "three sets", 25, 300),
        ("win rate at equal lengths", "nearly all won", 10, 200),
        ("win rate at equal lengths", "instructions differ", 50, 200),
        ("pass rate", "means of 8 (pass rates)", 25, 300),
        ("judge: accuracy", "right in 0.97", 25, 60),
        ("pass@4", "rates of inputs (beta 0.3, 0.6 and near)", 25, 300),
        ("pass^4", "hard inputs (beta 0.2, 2 and near)", 25, 300),
        ("exp(entropy) of valid answers", "answers of 12, more and less even", 10, 80),
        ("over-used phrase", "in bursts", 25, 100),
        ("forgetting", "long texts", 25, 100),
        ("shift of words", "most words", 10, 40),
        ("shift of lengths", "longer, wider", 25, 100),
        ("shift of embeddings", "large", 25, 100),
    ],
)
def test_intervals_contain_the_truth(
    coverage: ModuleType, figure: str, population: str, n: int, simulations: int
) -> None:
    (case,) = (one for one in coverage.cases() if (one.figure, one.population) == (figure, population))
    found = coverage.measure(case, n, simulations)
    # 93 % less three standard deviations of as many simulations
    assert found["coverage"] >= 0.93 - 3 * (0.93 * 0.07 / simulations) ** 0.5
    # Not by being as wide as can be: at most three times what it would be if the spread were known. (Nearly all won or
    # tied, the spread is next to nothing.)
    assert figure.startswith("win rate") or found["excess_width"] < 2


def test_every_figure_has_a_name_of_its_own_and_the_seed_decides(coverage: ModuleType) -> None:
    cases = list(coverage.cases())
    assert len({(case.figure, case.population) for case in cases}) == len(cases)
    case = next(case for case in cases if case.figure == "win rate")
    first, again, other = (coverage.measure(case, 10, 100, seed) for seed in (0, 0, 1))
    assert first == again != other
