"""What a judge and humans make of whole models, from the pairs of outputs that both labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrlhf.metrics.estimate import bounded_estimate, proportion_estimate
from genrlhf.metrics.preference.validating.matching import LabelledPair
from genrlhf.types import Estimate

__all__ = ["AggregateWinRate", "Correlation", "aggregate_win_rates", "correlate"]


@dataclass(frozen=True)
class AggregateWinRate:
    """What judge and humans make of two models over the same pairs.

    Attributes:
        model: `generator_2` of the first human row that compares the two models.
        baseline: its `generator_1`.
        judge: mean over pairs of the judge's win share of the model; preferences by degree count as they are.
        humans: mean over pairs of the humans' mean win share.
        difference: the judge's less the humans', paired by pair.
    """

    model: str
    baseline: str
    judge: Estimate
    humans: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Correlation:
    """How the judge's win rates go with the humans', over pairs of models.

    Attributes:
        pearson: of the win rates; NaN where one side has the same for all.
        spearman: of their ranks, equal ones sharing the mean rank.
    """

    pearson: float
    spearman: float


def aggregate_win_rates(pairs: Sequence[LabelledPair]) -> dict[str, AggregateWinRate]:
    """Return the win rates of every two models compared, by "model vs baseline".

    Two outputs of one model are left out: between them there is no win rate.

    Args:
        pairs: with labels of judge and humans.
    """
    compared: dict[frozenset[str], list[LabelledPair]] = {}
    for pair in pairs:
        if pair.generators[0] != pair.generators[1]:
            compared.setdefault(frozenset(pair.generators), []).append(pair)
    found = {}
    for of_two in compared.values():
        baseline, model = of_two[0].generators
        won = np.array([(pair.judge.mean(), pair.humans.mean()) for pair in of_two])
        turned = np.array([pair.generators[0] == model for pair in of_two])
        won[turned] = 1 - won[turned]
        found[f"{model} vs {baseline}"] = AggregateWinRate(
            model=model,
            baseline=baseline,
            judge=proportion_estimate(won[:, 0]),
            humans=proportion_estimate(won[:, 1]),
            difference=bounded_estimate(won[:, 0] - won[:, 1], -1.0, 1.0),
        )
    return found


def correlate(rates: Sequence[AggregateWinRate]) -> Correlation:
    """Return how the judge's win rates go with the humans', for two or more."""
    from scipy.stats import rankdata

    sides = [np.array(side) for side in zip(*((one.judge.value, one.humans.value) for one in rates), strict=True)]
    return Correlation(pearson=_pearson(*sides), spearman=_pearson(*map(rankdata, sides)))


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - first.mean(), second - second.mean()
    # A mean of equal numbers can be off by a rounding.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.clip(a @ b / math.sqrt((a @ a) * (b @ b)), -1, 1))
