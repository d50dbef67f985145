"""Figures of solutions in populations where the truth is known, or is an expected value; see `coverage.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import betabinom

from genrlhf.metrics import DistinctN, forgetting
from genrlhf.metrics.solutions import (
    cover_at_tau,
    crossing_point,
    distinct_valid,
    effective_answers,
    effective_semantic_diversity,
    homogeneity_between,
    kl_to_uniform,
    majority_at_k,
    over_used_phrases,
    pass_at_k,
    pass_hat_k,
    quality_filtered_diversity,
)
from genrlhf.types import Estimate

__all__ = ["solution_cases"]

Generator: TypeAlias = np.random.Generator
Simulate: TypeAlias = Callable[[Generator, int], tuple[Estimate, float | None]]

_OUTPUTS = 16
_RATES = {"rates of inputs (beta 0.3, 0.6 and near)": (0.3, 0.6), "hard inputs (beta 0.2, 2 and near)": (0.2, 2.0)}


def _power(a: float, b: float, k: int) -> float:
    """Return the mean of p^k, p of a beta distribution."""
    return math.exp(math.lgamma(a + k) - math.lgamma(a) + math.lgamma(a + b) - math.lgamma(a + b + k))


def _passed(generator: Generator, n: int, a: float, b: float) -> np.ndarray:
    return generator.random((n, _OUTPUTS)) < generator.beta(a, b, size=(n, 1))


_OF_VERDICTS: dict[str, tuple[Callable[[Any], Estimate], Callable[[float, float], float]]] = {
    "pass@4": (lambda right: pass_at_k(right, 4), lambda a, b: 1 - _power(b, a, 4)),
    "pass@16": (lambda right: pass_at_k(right, 16), lambda a, b: 1 - _power(b, a, 16)),
    "pass^4": (lambda right: pass_hat_k(right, 4), lambda a, b: _power(a, b, 4)),
    "cover@0.5": (lambda right: cover_at_tau(right, 0.5), lambda a, b: float(betabinom.sf(7, _OUTPUTS, a, b))),
}


def _of_verdicts(measure: Callable[[Any], Estimate], truth: Callable[[float, float], float], a: float, b: float) -> Any:
    """The rates are drawn from a range of distributions: of a fixed share, coverage goes up and down with n."""

    def simulate(generator: Generator, n: int) -> tuple[Estimate, float]:
        drawn = a * generator.uniform(0.6, 1.6)
        return measure(_passed(generator, n, drawn, b)), truth(drawn, b)

    return simulate


def _answers(generator: Generator, n: int) -> tuple[list[list[str]], list[list[bool]]]:
    """Return outputs of which some are right, with answers more and less even from input to input."""
    texts, right = [], []
    for evenness in generator.uniform(0.2, 2.0, n):
        shares = generator.dirichlet(np.full(12, evenness))
        drawn = generator.choice(12, _OUTPUTS, p=shares)
        texts.append([f"answer {x}" for x in drawn])
        right.append((drawn < generator.integers(2, 12)).tolist())
    return texts, right


def _of_answers(figure: Callable[[Any, Any], Estimate]) -> Simulate:
    return lambda generator, n: (figure(*_answers(generator, n)), None)


def _filtered(texts: Any, right: Any) -> Estimate:
    found = quality_filtered_diversity(texts, right, DistinctN(1), take=2).diversity
    return found if found is not None else Estimate(math.nan, math.nan, (math.nan, math.nan), 0, np.zeros(0))


def _crossing(base: tuple[float, float], trained: tuple[float, float]) -> Simulate:
    """Rates of two models on the same inputs; the truth is where the means of their curves cross."""
    wins = [k for k in range(1, 10_000) if _power(*reversed(base), k) < _power(*reversed(trained), k)]

    def simulate(generator: Generator, n: int) -> tuple[Estimate, float]:
        found = crossing_point(_passed(generator, n, *base), _passed(generator, n, *trained), resamples=1)
        ends = [min(end, _OUTPUTS + 1) for end in found.ci]
        none = 1 if found.first.difference.value > 0 else _OUTPUTS + 1
        return Estimate(found.k or none, math.nan, (ends[0], ends[1]), n, np.zeros(0)), min(wins[0], _OUTPUTS + 1)

    return simulate


def _phrase(often: float, rarely: float) -> Simulate:
    """Texts of words in which one comes in bursts, more often in the outputs than in the references; log ρ."""

    def texts(generator: Generator, n: int, rate: float) -> list[str]:
        sizes = generator.integers(20, 60, n)
        counts = generator.poisson(rate * sizes * generator.gamma(0.5, 2.0, n))
        return [" ".join(["burst"] * c + ["word"] * int(s)) for s, c in zip(sizes, counts, strict=True)]

    def simulate(generator: Generator, n: int) -> tuple[Estimate, float]:
        outputs = [[text] for text in texts(generator, n, often)]
        found = over_used_phrases(outputs, texts(generator, n, rarely), n=1, min_inputs=1, top=None)[1]
        one = next((each for each in found if each.phrase == "burst"), None)
        truth = math.log(often / (1 + often)) - math.log(rarely / (1 + rarely))
        if one is None:
            return Estimate(truth, math.nan, (math.nan, math.nan), n, np.zeros(0)), truth
        ends = (math.log(one.ci[0]), math.log(one.ci[1]))
        return Estimate(math.log(one.ratio), math.nan, ends, n, np.zeros(0)), truth

    return simulate


def _homogeneity(generator: Generator, n: int) -> tuple[Estimate, None]:
    words = list("abcdefgh")

    def model(favour: np.ndarray) -> list[list[str]]:
        return [[" ".join(generator.choice(words, 5, p=each)) for _ in range(2)] for each in favour]

    shared = generator.dirichlet(np.full(8, 0.5), n)
    return homogeneity_between({"a": model(shared), "b": model(shared)}).overall, None


def _forgetting(generator: Generator, n: int) -> tuple[Estimate, float]:
    """Long texts lose more: an increase of 0.1 on average, weighted by tokens."""
    sizes = generator.integers(5, 200, n)
    base = [(-generator.exponential(2.0, size)).tolist() for size in sizes]
    moves = 0.1 * generator.exponential(1.0, n)
    checkpoint = [[x - move for x in tokens] for tokens, move in zip(base, moves, strict=True)]
    return forgetting(base, checkpoint).increase, 0.1


def solution_cases() -> Iterator[tuple[str, str, Simulate, float]]:
    """Yield figure, population, how it is simulated and the share of the simulations."""
    for name, rates in _RATES.items():
        for figure, (measure, truth) in _OF_VERDICTS.items():
            yield figure, name, _of_verdicts(measure, truth, *rates), 0.5
    answers = "answers of 12, more and less even"
    figures: dict[str, tuple[Callable[[Any, Any], Estimate], float]] = {
        "majority@5": (lambda texts, right: majority_at_k(texts, right, 5), 0.05),
        "distinct valid": (distinct_valid, 0.2),
        "exp(entropy) of valid answers": (effective_answers, 0.2),
        "exp(entropy) of 4 valid answers": (lambda texts, right: effective_answers(texts, right, rarefy_to=4), 0.05),
        "KL to uniform": (lambda texts, right: kl_to_uniform(texts, right, 12), 0.2),
        "effective diversity": (effective_semantic_diversity, 0.2),
        "diversity of right outputs": (_filtered, 0.1),
    }
    for figure, (of_answers, share) in figures.items():
        yield figure, answers, _of_answers(of_answers), share
    yield "crossing point", "beta 1, 4 and beta 0.25, 0.35", _crossing((1.0, 4.0), (0.25, 0.35)), 0.1
    yield "over-used phrase", "in bursts", _phrase(0.05, 0.02), 0.2
    yield "over-used phrase", "rare in references", _phrase(0.05, 0.003), 0.2
    yield "homogeneity between models", "shared topics", _homogeneity, 0.1
    yield "forgetting", "long texts", _forgetting, 0.2
