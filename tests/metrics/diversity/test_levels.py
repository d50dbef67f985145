"""Per-input and across-input diversity."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics import (
    EAD,
    DistinctN,
    NLIDiversity,
    SentenceBERT,
    across_input_diversity,
    per_input_diversity,
    pooled_diversity,
)
from genrlhf.metrics.diversity.catalogue import METRICS, MetricOptions, build_metrics
from genrlhf.metrics.diversity.compare import compare_diversity
from genrlhf.metrics.diversity.embeddings import Embedder
from genrlhf.metrics.diversity.nli_scorer import SharedScorer
from genrlhf.metrics.estimate import mean_estimate
from genrlhf.types import DiversityMetric


class Size:
    """The number of different texts, NaN for none but empty ones; keeps the sets it was asked about."""

    name = "size"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> float:
        self.asked.append(list(texts))
        different = len(set(texts) - {""})
        return float(different) if different else math.nan


def letters(texts: list[str]) -> np.ndarray:
    return np.array([[text.count(letter) + 0.1 for letter in "abcd"] for text in texts])


def equal(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
    return [[0, 0, 1] if p == h else [1, 0, 0] for p, h in zip(premises, hypotheses, strict=True)]


def test_every_metric_keeps_the_protocol() -> None:
    metrics = (EAD(), DistinctN(), SentenceBERT(letters), NLIDiversity(equal))
    assert all(isinstance(metric, DiversityMetric) for metric in metrics)
    assert [metric.name for metric in metrics] == ["ead", "distinct_n", "sentence_bert", "nli"]


def test_per_input_is_the_mean_over_inputs() -> None:
    # 1, 3 and 2 different outputs; the fourth input is undefined and left out
    outputs = [["a", "a", "a"], ["a", "b", "c"], ["a", "b", "b"], ["", "", ""]]
    estimate = per_input_diversity(outputs, Size())
    assert (estimate.value, estimate.n, estimate.values.tolist()) == (2.0, 3, [1, 3, 2])
    assert estimate.stderr == pytest.approx(1 / math.sqrt(3), rel=1e-12)


@pytest.mark.parametrize("metric", [SentenceBERT(letters), NLIDiversity(equal)])
def test_per_input_in_a_batch_is_that_of_single_calls(metric: SentenceBERT | NLIDiversity) -> None:
    outputs = [["ab", "b", "ccc"], ["d", "ddd", "d"], ["a", "b", "c"]]
    values = [metric(texts) for texts in outputs]
    assert per_input_diversity(outputs, metric).values == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("metric", [SentenceBERT(letters), NLIDiversity(equal)])
def test_pairwise_metrics_need_two_outputs_and_two_inputs(metric: SentenceBERT | NLIDiversity) -> None:
    with pytest.raises(DataError, match=rf"input 1 has 1 output\(s\), and {metric.name} needs at least 2"):
        per_input_diversity([["a", "b"], ["a"]], metric)
    with pytest.raises(DataError, match=rf"1 input\(s\), and {metric.name} across inputs needs at least 2"):
        across_input_diversity([["a", "b"]], metric)


def test_one_output_an_input_will_do_for_words() -> None:
    assert per_input_diversity([["a b"], ["a a"]], DistinctN(1)).value == 0.75


def test_across_takes_one_output_of_every_input() -> None:
    outputs = [["a", "x"], ["b", "x"], ["c", "y"]]
    metric = Size()
    first = across_input_diversity(outputs, metric)
    assert (first.value, first.n) == (3.0, 3)
    assert metric.asked == [["a", "b", "c"], ["b", "c"], ["a", "c"], ["a", "b"]]
    assert across_input_diversity(outputs, Size(), sample=1).value == 2


def test_across_can_draw_the_output() -> None:
    outputs = [[f"{row} {column}" for column in range(10)] for row in range(40)]
    metric = Size()
    across_input_diversity(outputs, metric, seed=0)
    across_input_diversity(outputs, metric, seed=0)
    across_input_diversity(outputs, metric, seed=1)
    draws = [texts for texts in metric.asked if len(texts) == 40]
    assert draws[0] == draws[1] != draws[2]
    assert all(text in texts for text, texts in zip(draws[0], outputs, strict=True))
    assert len({text.split()[1] for text in draws[0]}) > 5


@pytest.mark.parametrize("metric", [SentenceBERT(letters), NLIDiversity(equal), DistinctN(1)])
def test_across_error_against_the_textbook_jackknife(metric: SentenceBERT | NLIDiversity | DistinctN) -> None:
    texts = ["a", "ab", "b", "a", "ccd", "d", "abcd", "ab"]
    blocks = 4
    without = [metric([text for index, text in enumerate(texts) if index % blocks != b]) for b in range(blocks)]
    centre = statistics.fmean(without)
    expected = math.sqrt((blocks - 1) / blocks * sum((value - centre) ** 2 for value in without))
    estimate = across_input_diversity([[text] for text in texts], metric, blocks=blocks)
    assert estimate.value == pytest.approx(metric(texts), abs=1e-12)
    assert estimate.stderr == pytest.approx(expected, rel=1e-9)
    assert expected > 0.01
    assert (estimate.n, estimate.values.shape) == (8, (4,))
    # Student's, but for the side of the longer tail, and where the metric ends.
    arms = (estimate.value - estimate.ci[0], estimate.ci[1] - estimate.value)
    low, high = metric.bounds or (-math.inf, math.inf)
    room = min(estimate.value - low, high - estimate.value)
    assert min(arms) == pytest.approx(min(3.182446 * expected, room), rel=1e-5)


def test_the_error_of_a_sum_is_that_of_the_mean_times_the_pairs() -> None:
    outputs = [[text] for text in ["a", "b", "a", "c", "b", "a"]]
    mean = across_input_diversity(outputs, NLIDiversity(equal), blocks=3)
    total = across_input_diversity(outputs, NLIDiversity(equal, aggregate="sum"), blocks=3)
    assert (total.value, total.stderr) == pytest.approx((15 * mean.value, 15 * mean.stderr), rel=1e-9)


@pytest.mark.parametrize("sample", [1, -1])
def test_a_sample_that_is_not_there(sample: int) -> None:
    with pytest.raises(DataError, match=rf"input 0 has 1 output\(s\), so there is none at sample {sample}"):
        across_input_diversity([["a"], ["b", "c"]], EAD(), sample=sample)


def test_undefined_and_bad_settings() -> None:
    with pytest.raises(DataError, match=r"ead is undefined for every input: 3 of 3 texts \(100.0%\) have no words"):
        per_input_diversity([["", ""], [""]], EAD())
    with pytest.raises(DataError, match="ead is undefined across inputs: 2 of 2 texts"):
        across_input_diversity([[""], [""]], EAD())
    with pytest.raises(ConfigError, match="blocks is 1"):
        across_input_diversity([["a"], ["b"]], EAD(), blocks=1)
    with pytest.raises(DataError, match="input 1 is the string 'b'"):
        across_input_diversity([["a"], "b"], EAD())
    with pytest.raises(DataError, match="outputs is empty"):
        per_input_diversity([], EAD())


def test_pooled_by_hand() -> None:
    # a b a b | c d a d: 4 of 8 words; without the first input 3 of 4, without the second 2 of 4
    outputs = [["a b", "a b"], ["c d", "a d"]]
    found = pooled_diversity(outputs, DistinctN(1))
    assert found.value == 0.5
    assert found.n == 2
    assert found.values == pytest.approx([2 * 0.5 - 0.75, 2 * 0.5 - 0.5])
    assert pooled_diversity([["a", "b", "c"]], Size()).value == 3
    with pytest.raises(DataError, match=r"outputs has 1 output\(s\), and sentence_bert in one set needs at least 2"):
        pooled_diversity([["a"]], SentenceBERT(letters))


def test_several_draws_are_averaged() -> None:
    outputs = [["a", "b"], ["a", "c"], ["a", "d"], ["e", "f"]]
    metric = Size()
    found = across_input_diversity(outputs, metric, seed=3, draws=5)
    drawn = [asked for asked in metric.asked if len(asked) == 4]
    assert len(drawn) == 5
    assert found.value == statistics.mean(len(set(texts)) for texts in drawn)
    assert found.n == 4
    with pytest.raises(ConfigError, match="draws is 5 and seed None"):
        across_input_diversity(outputs, Size(), draws=5)


def test_the_interval_of_per_input_diversity() -> None:
    outputs = [["a b", "a b"], ["a b", "a c"], ["a b", "c d"]] * 10
    found = per_input_diversity(outputs, DistinctN(1))
    assert found.value == 0.75 and found.ci == mean_estimate([0.5, 0.75, 1.0] * 10).ci
    # Of bounded metrics it stays within, and has a width where all inputs are alike: Wilson's of 10 of 10.
    few = per_input_diversity([["a b", "c d"], ["a", "a"]], DistinctN(1))
    assert few.ci == (0, 1) and mean_estimate(few.values).ci[1] > 1
    alike = per_input_diversity([["a b", "c d"]] * 10, DistinctN(1))
    assert alike.stderr == 0 and alike.ci == pytest.approx((10 / (10 + 1.959964**2), 1), abs=1e-6)
    assert compare_diversity([["a b", "c d"]] * 10, [["a b", "c d"]] * 10, DistinctN(1)).difference.ci[1] > 0.25


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"bert_score", "likelihood_entropy"}))
@pytest.mark.parametrize(
    "texts", [["the cat sat on the mat"] * 3, ["a b c d e", "v w x y z"], ["你好 你们好", "ok then and now so"]]
)
def test_no_interval_is_a_point(name: str, texts: list[str]) -> None:
    options = MetricOptions(classes="exact", embedder=Embedder(letters), scorer=SharedScorer(equal))
    metric = build_metrics([name], options)[name]
    for figure in (per_input_diversity, across_input_diversity, pooled_diversity):
        estimate = figure([texts] * 5, metric)
        assert math.isnan(estimate.ci[0]) or estimate.ci[1] - estimate.ci[0] > 1e-6


def test_bounds_that_a_metric_of_somebody_elses_has() -> None:
    class Bounded:
        name = "bounded"
        bounds = (0.0, 4.0)

        def __call__(self, texts: Sequence[str]) -> float:
            return float(len(set(texts)))

    assert per_input_diversity([["a", "b", "c", "d"]] * 10, Bounded()).ci[0] == pytest.approx(4 * 0.722467, abs=1e-5)
    Bounded.bounds = None
    unknown = per_input_diversity([["a", "b", "c", "d"]] * 10, Bounded())
    assert unknown.value == 4 and all(map(math.isnan, unknown.ci))
