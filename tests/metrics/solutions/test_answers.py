"""Counts, entropies and rarefaction of right answers against hand arithmetic and brute force."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics import DistinctN, SentenceBERT
from genrlhf.metrics.solutions import (
    answer_coverage,
    distinct_valid,
    effective_answers,
    effective_semantic_diversity,
    kl_to_uniform,
    quality_filtered_diversity,
    valid_share,
    valid_yield,
    verdicts_from_scores,
)

OUTPUTS = [["Ohio", "ohio ", "Texas", "Paris"], ["Utah", "Rome", "Rome", "Bonn"]]
RIGHT = [[True, True, True, False], [True, False, False, False]]
ONE_INPUT = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=7)


def entropy(texts: list[str]) -> float:
    shares = np.array(list(Counter(texts).values())) / len(texts)
    return float(-(shares * np.log(shares)).sum())


def test_counts_by_hand() -> None:
    assert valid_share(RIGHT).value == (3 / 4 + 1 / 4) / 2
    assert distinct_valid(OUTPUTS, RIGHT).value == (2 + 1) / 2
    assert valid_yield(OUTPUTS, RIGHT).value == (2 / 4 + 1 / 4) / 2
    assert answer_coverage(OUTPUTS, RIGHT, 50).value == pytest.approx((2 / 50 + 1 / 50) / 2)
    assert answer_coverage(OUTPUTS, RIGHT, [4, 2]).value == pytest.approx((2 / 4 + 1 / 2) / 2)


def test_entropy_by_hand() -> None:
    h = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert effective_answers(OUTPUTS, RIGHT).value == pytest.approx((math.exp(h) + 1) / 2)
    corrected = effective_answers(OUTPUTS, RIGHT, correction="miller_madow")
    assert corrected.value == pytest.approx((math.exp(h + 1 / 6) + 1) / 2)
    assert kl_to_uniform(OUTPUTS, RIGHT, 50).value == pytest.approx(math.log(50) - h / 2)


def test_an_input_without_right_answers_has_no_entropy_and_no_distinct_ones() -> None:
    none = [[True, True, True, False], [False] * 4]
    assert effective_answers(OUTPUTS, none).n == 1
    assert kl_to_uniform(OUTPUTS, none, 50).n == 1
    assert distinct_valid(OUTPUTS, none).value == 1.0
    nothing = effective_answers(OUTPUTS, [[False] * 4] * 2)
    assert nothing.n == 0
    assert math.isnan(nothing.value)


@settings(deadline=None)
@given(ONE_INPUT, st.integers(1, 7))
def test_rarefaction_is_the_mean_over_all_subsets(outputs: list[tuple[str, bool]], k: int) -> None:
    texts, right = [t for t, _ in outputs], [r for _, r in outputs]
    found = distinct_valid([texts], [right], k=k)
    if k > len(texts):
        assert math.isnan(found.value)
    else:
        drawn = [{texts[i] for i in each if right[i]} for each in itertools.combinations(range(len(texts)), k)]
        assert found.value == pytest.approx(np.mean([len(each) for each in drawn]), abs=1e-12)
        assert valid_yield([texts], [right], k=k).value == pytest.approx(found.value / k)
    valid = [text for text, good in outputs if good]
    rarefied = effective_answers([texts], [right], rarefy_to=k)
    if k > len(valid):
        assert math.isnan(rarefied.value)
    else:
        expected = np.mean([entropy(list(each)) for each in itertools.combinations(valid, k)])
        assert rarefied.value == pytest.approx(math.exp(expected), rel=1e-12)


def test_miller_and_madow_are_nearer_to_the_truth_where_answers_are_few() -> None:
    generator = np.random.default_rng(0)
    outputs = [[str(x) for x in generator.integers(10, size=40)] for _ in range(300)]
    right = [[True] * 40] * 300
    plain = effective_answers(outputs, right).value
    corrected = effective_answers(outputs, right, correction="miller_madow").value
    assert plain < 9.2
    assert abs(corrected - 10) < 0.3


def test_uniform_answers_are_at_no_distance_and_always_the_same_at_log_size() -> None:
    assert kl_to_uniform([["a", "b", "c", "d"]], [[True] * 4], 4).value == pytest.approx(0, abs=1e-12)
    assert kl_to_uniform([["a"] * 4], [[True] * 4], 4).value == pytest.approx(math.log(4))
    assert kl_to_uniform([["a"] * 4], [[True] * 4], 1).value == 0.0


def test_more_answers_than_there_are() -> None:
    for figure in (answer_coverage, kl_to_uniform):
        with pytest.raises(DataError, match="Input 0 has 2 different right answers, more than the 1"):
            figure(OUTPUTS, RIGHT, 1)
    with pytest.raises(DataError, match="size has 3 numbers"):
        answer_coverage(OUTPUTS, RIGHT, [1, 2, 3])


@pytest.mark.parametrize(
    ("outputs", "verdicts", "message"),
    [
        ([["a"]], [[True], [True]], "outputs of 1 inputs and verdicts of 2"),
        ([["a", "b"]], [[True]], r"Input 0 has 2 output\(s\) and 1 verdict"),
    ],
)
def test_outputs_and_verdicts_go_together(outputs: object, verdicts: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        distinct_valid(outputs, verdicts)  # type: ignore[arg-type]


def test_settings_that_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not both"):
        effective_answers(OUTPUTS, RIGHT, correction="miller_madow", rarefy_to=2)
    with pytest.raises(ConfigError, match="'chao'"):
        effective_answers(OUTPUTS, RIGHT, correction="chao")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no classes"):
        effective_semantic_diversity(OUTPUTS, RIGHT, kind="fixed", metric=DistinctN(1))
    with pytest.raises(ConfigError, match="'all'"):
        effective_semantic_diversity(OUTPUTS, RIGHT, kind="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 2"):
        quality_filtered_diversity(OUTPUTS, RIGHT, DistinctN(1), at_least=1)


def test_filtered_diversity_leaves_out_inputs_with_too_few() -> None:
    found = quality_filtered_diversity(OUTPUTS, RIGHT, DistinctN(1))
    assert found.diversity is not None
    # Ohio, ohio, Texas are three words of three; the second input has one right output
    assert (found.diversity.value, found.diversity.n) == (1.0, 1)
    assert (found.coverage.value, found.left_out, found.mean_right) == (0.5, 1, 3.0)
    assert found.to_dict()["coverage"]["n"] == 2


def test_filtered_diversity_of_sets_of_one_size() -> None:
    outputs = [["a b", "c d", "a b", "a b"], ["a", "b", "a", "a"]]
    verdicts = [[True, False, True, True], [True, True, False, False]]
    found = quality_filtered_diversity(outputs, verdicts, DistinctN(1), take=2)
    assert found.diversity is not None
    assert found.diversity.value == pytest.approx((2 / 4 + 1) / 2)
    assert found.mean_right == 2.0


def test_filtered_diversity_of_a_threshold() -> None:
    verdicts = verdicts_from_scores([[0.1, 0.9, 0.8], [0.2, float("nan"), 0.9]], 0.5)
    assert verdicts == [[False, True, True], [False, False, True]]
    found = quality_filtered_diversity([["x", "a b", "a b"], ["x", "y", "z"]], verdicts, DistinctN(1))
    assert found.diversity is not None
    assert found.diversity.value == 0.5


def test_no_input_with_enough_right_outputs() -> None:
    found = quality_filtered_diversity([["a", "b"]], [[True, False]], DistinctN(1))
    assert (found.diversity, found.left_out, found.coverage.value) == (None, 1, 0.0)
    assert found.to_dict()["value"] is None
    assert found.to_dict()["mean_right"] is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=2, max_size=7))
def test_effective_diversity_is_a_share_of_pairs(outputs: list[tuple[str, bool]]) -> None:
    texts, right = [t for t, _ in outputs], [r for _, r in outputs]
    pairs = [x[1] and y[1] and x[0] != y[0] for x, y in itertools.combinations(outputs, 2)]
    assert effective_semantic_diversity([texts], [right]).value == pytest.approx(np.mean(pairs))
    fixed = effective_semantic_diversity([texts], [right], kind="fixed")
    assert fixed.value == pytest.approx(valid_yield([texts], [right]).value)


def test_effective_diversity_by_distances_of_right_pairs() -> None:
    vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8], "x": [1.0, 1.0]}
    metric = SentenceBERT(lambda texts: np.array([vectors[text] for text in texts]))
    found = effective_semantic_diversity([["a", "b", "c", "x"], ["x"] * 4], [[True] * 3 + [False]] * 2, metric=metric)
    # 1 − cos: 1, 0.4 and 0.2 of six pairs
    assert found.values.tolist() == pytest.approx([1.6 / 6, 0.0])
    assert math.isnan(effective_semantic_diversity([["a"]], [[True]]).value)
