"""Means over pairs: the draw, leaving texts out, and the error that both make, on numbers whose pairs add up."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import ConfigError, ModelError
from genrlhf.metrics import Homogenisation, NLIDiversity, across_input_diversity, compare_diversity
from genrlhf.metrics.diversity.catalogue import MetricOptions, build_metrics
from genrlhf.metrics.diversity.left_out import InputTexts
from genrlhf.metrics.diversity.pairwise import PairwiseMetric
from genrlhf.metrics.estimate import jackknife_blocks, jackknife_from_blocks, jackknife_variance


class SumOfPairs(PairwiseMetric):
    """Scores two texts, which are numbers, by their sum; negative ones have no score."""

    name = "sum_of_pairs"

    def __init__(self, max_pairs: int | None = None, seed: int = 0) -> None:
        self.max_pairs, self.seed = max_pairs, seed
        self.asked: list[list[tuple[str, str]]] = []

    def score_pairs(self, pairs: list[tuple[str, str]]) -> list[float]:
        self.asked.append(pairs)
        return [math.nan if "-" in a + b else float(a) + float(b) for a, b in pairs]


def test_every_pair_once() -> None:
    metric = SumOfPairs()
    # (1 + 2, 1 + 4, 2 + 4) / 3 and the lone one
    assert metric.batch([["1", "2", "4"], ["2", "1"], []])[:2] == [14 / 3, 3]
    assert metric.asked == [[("1", "2"), ("1", "4"), ("2", "4")]]
    assert math.isnan(metric([])) and math.isnan(metric(["1"]))
    assert len(metric.asked) == 1


def test_pairs_without_a_score_do_not_count() -> None:
    metric = SumOfPairs()
    assert metric(["1", "2", "-1"]) == 3
    value, without = metric.leave_out(["1", "2", "-1"], [[0], [1], [2]])
    assert value == 3 and without[2] == 3
    assert math.isnan(without[0]) and math.isnan(without[1])


@pytest.mark.parametrize("max_pairs", [None, 60])
def test_leaving_out_keeps_the_pairs_that_are_left(max_pairs: int | None) -> None:
    texts = [str(number**2) for number in range(20)]
    blocks = [[0, 5], [1], [2, 3, 19], []]
    metric = SumOfPairs(max_pairs, seed=3)
    value, without = metric.leave_out(texts, blocks)
    assert len(metric.asked) == 1 and len(metric.asked[0]) == (max_pairs or 190)
    for block, found in zip(blocks, without, strict=True):
        left = {str(number**2) for number in range(20) if number not in block}
        sums = [float(a) + float(b) for a, b in metric.asked[0] if {a, b} <= left]
        assert found == pytest.approx(statistics.fmean(sums), rel=1e-12)
    assert value == pytest.approx(without[3], rel=1e-12)


def test_all_pairs_have_no_draw() -> None:
    assert SumOfPairs(190).left_out([str(i) for i in range(20)], [[0]]).draw is None
    assert SumOfPairs(189).left_out([str(i) for i in range(20)], [[0]]).draw is not None
    assert SumOfPairs().pair_error(["1", "2", "3"]) == 0


def test_the_share_of_the_draw_in_the_jackknife_against_drawing_again() -> None:
    """Of fixed texts, what the jackknife's variance gains by drawing pairs is what is taken out, on average."""
    texts = [str(number * number % 37) for number in range(40)]
    inputs = [[[text] for text in texts]]
    plain = InputTexts(inputs, 8).leave_out(SumOfPairs()).estimate().stderr ** 2
    excess, taken, values, errors = [], [], [], []
    for seed in range(400):
        left = InputTexts(inputs, 8).leave_out(SumOfPairs(150, seed))
        assert left.draw is not None
        excess.append(jackknife_from_blocks(left.value, left.without, left.blocks).stderr ** 2 - plain)
        of_each = jackknife_variance(left.draw.moves[0], left.draw.moves[1:].T, np.full(8, 5.0))
        taken.append(left.draw.mean_of(of_each))
        values.append(left.value)
        errors.append(left.pair_error**2)
    assert statistics.fmean(taken) == pytest.approx(statistics.fmean(excess), rel=0.15)
    assert statistics.fmean(errors) == pytest.approx(statistics.variance(values), rel=0.15)
    assert statistics.fmean(taken) / statistics.fmean(errors) == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("max_pairs", [None, 700])
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_the_error_is_that_of_fresh_texts(max_pairs: int | None, aggregate: str) -> None:
    generator = np.random.default_rng(0)

    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        return [[0.9, 0.1, 0] if a[0] != b[0] else [0, 0.1, 0.9] for a, b in zip(premises, hypotheses, strict=True)]

    found = [
        across_input_diversity(
            [[str(number)] for number in generator.integers(1, 400, size=80)],
            NLIDiversity(scorer, split="texts", max_pairs=max_pairs, seed=seed, aggregate=aggregate),  # type: ignore[arg-type]
        )
        for seed in range(100)
    ]
    values = [estimate.value for estimate in found]
    error = math.sqrt(statistics.fmean(estimate.stderr**2 for estimate in found))
    assert error == pytest.approx(statistics.stdev(values), rel=0.2)


def test_the_error_of_a_difference_knows_that_the_pairs_are_the_same() -> None:
    generator = np.random.default_rng(0)

    def likeness(pairs: list[tuple[str, str]]) -> list[float]:
        return [abs(float(a) - float(b)) for a, b in pairs]

    found = []
    for seed in range(150):
        first = generator.normal(size=150)
        second = first + 0.1 * generator.normal(size=150)
        sides = [[[str(number)] for number in side] for side in (first, second)]
        found.append(
            compare_diversity(
                *sides, Homogenisation(likeness, max_pairs=600, seed=seed), level="across_input"
            ).difference
        )
    error = math.sqrt(statistics.fmean(estimate.stderr**2 for estimate in found))
    assert error == pytest.approx(statistics.stdev(estimate.value for estimate in found), rel=0.2)


@pytest.mark.parametrize("returned", [[1.0], [[1.0, 2.0, 3.0]], [1.0, math.inf, 2.0], [1.0] * 4])
def test_scores_that_are_not_one_a_pair(returned: Any) -> None:
    def measure(pairs: list[tuple[str, str]]) -> Sequence[float]:
        return returned  # type: ignore[no-any-return]

    with pytest.raises(ModelError, match="homogenisation_measure scored 3 pairs of texts with an array of shape"):
        Homogenisation(measure)(["a", "b", "c"])


def test_the_options_reach_every_metric_that_draws() -> None:
    names = ["rouge_l", "bert_score", "nli", "nli_baseline", "nli_neutral"]
    for given, expected in ((7, 7), ("all", None)):
        metrics: Any = build_metrics(names, MetricOptions(max_pairs=given, seed=5))  # type: ignore[arg-type]
        assert {metric.max_pairs for metric in metrics.values()} == {expected}
        assert {metric.seed for metric in metrics.values()} == {5}
    metrics = build_metrics(names, MetricOptions())
    assert [metric.max_pairs for metric in metrics.values()] == [20000, 20000, 2000, 2000, 2000]
    with pytest.raises(ConfigError, match="max_pairs is 0"):
        build_metrics(["rouge_l"], MetricOptions(max_pairs=0))


def test_blocks_of_unequal_sizes() -> None:
    blocks = jackknife_blocks(7, 3)
    assert sorted(itertools.chain(*blocks)) == list(range(7))
    left = InputTexts([[[str(i)] for i in range(7)]], 3).leave_out(SumOfPairs(12))
    assert left.estimate().stderr >= left.pair_error > 0
