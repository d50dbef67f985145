"""Classes of equal meaning, and what is measured over them."""

from __future__ import annotations

import gzip
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.metrics import (
    DistinctK,
    EmbeddingClasses,
    EntailmentClasses,
    ExactClasses,
    JudgedClasses,
    LikelihoodEntropy,
    SemanticEntropy,
    UtilityK,
    per_input_diversity,
)
from genrlhf.metrics.diversity.catalogue import MetricOptions, build_metrics
from genrlhf.metrics.diversity.evaluation import OutputsRow, Undefined, evaluate_diversity
from tests import needs


def test_exact_classes() -> None:
    assert ExactClasses()([["A ", "b", "a"], [], ["x"]]) == [[0, 1, 0], [], [0]]
    assert ExactClasses(ignore_case=False)([["A", "b", "a"]]) == [[0, 1, 2]]


def test_embedding_classes_compare_with_the_first_of_a_class() -> None:
    # 0°, 20°, 40°: the middle one joins the first, and the last is too far from that first.
    angles = {"a": 0.0, "b": 20.0, "c": 40.0}

    def encode(texts: list[str]) -> np.ndarray:
        turns = np.radians([angles[text] for text in texts])
        return np.stack([np.cos(turns), np.sin(turns)], axis=1)

    assert EmbeddingClasses(encode, threshold=math.cos(math.radians(25)))([["a", "b", "c", "a"]]) == [[0, 0, 1, 0]]
    assert EmbeddingClasses(encode, threshold=1)([["a", "a", "b"]]) == [[0, 0, 1]]
    with pytest.raises(ConfigError, match="threshold is 1.5"):
        EmbeddingClasses(encode, threshold=1.5)


def test_entailment_must_be_mutual() -> None:
    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        # A text entails those that begin it: "a b" entails "a".
        return [[0, 0, 1] if a.startswith(b) else [0, 1, 0] for a, b in zip(premises, hypotheses, strict=True)]

    assert EntailmentClasses(scorer)([["a b", "a", "a b"], ["a", "a b"]]) == [[0, 1, 0], [0, 1]]


def test_judged_classes_ask_in_rounds() -> None:
    asked: list[list[tuple[str, str]]] = []

    def same(texts: list[str], others: list[str]) -> list[bool]:
        asked.append(list(zip(texts, others, strict=True)))
        return [a[0] == b[0] for a, b in zip(texts, others, strict=True)]

    assert JudgedClasses(same)([["ax", "bx", "ay", "by"], ["c", "d"]]) == [[0, 1, 0, 1], [0, 1]]
    assert asked == [[("ax", "bx"), ("ax", "ay"), ("ax", "by"), ("c", "d")], [("bx", "by")]]
    with pytest.raises(ModelError, match="must return 1 booleans"):
        JudgedClasses(lambda texts, others: [None] * len(texts))([["a", "b"]])  # type: ignore[list-item]


@given(st.lists(st.lists(st.sampled_from(["a", "ab", "b", "ba", "c"]), max_size=6), min_size=1, max_size=4))
def test_rounds_give_what_one_text_after_the_other_gives(sets: list[list[str]]) -> None:
    def same(texts: list[str], others: list[str]) -> list[bool]:
        return [set(a) <= set(b) for a, b in zip(texts, others, strict=True)]

    expected = []
    for texts in sets:
        firsts: list[str] = []
        labels = []
        for text in texts:
            found = next((i for i, first in enumerate(firsts) if set(first) <= set(text)), len(firsts))
            if found == len(firsts):
                firsts.append(text)
            labels.append(found)
        expected.append(labels)
    assert JudgedClasses(same)(sets) == expected


def test_distinct_k_and_entropy_by_hand() -> None:
    texts = ["yes", "no", "Yes", "maybe"]
    assert DistinctK(ExactClasses())(texts) == 3
    assert SemanticEntropy(ExactClasses())(texts) == pytest.approx(1.5 * math.log(2))
    assert (
        SemanticEntropy(ExactClasses())(["a", "a"]) == 0
        and math.copysign(1, SemanticEntropy(ExactClasses())(["a", "a"])) == 1
    )
    assert SemanticEntropy(ExactClasses())(list("abcd")) == pytest.approx(math.log(4))
    for metric in (DistinctK(ExactClasses()), SemanticEntropy(ExactClasses()), UtilityK(ExactClasses())):
        assert math.isnan(metric([]))


def test_utility_by_hand() -> None:
    # New at places 1, 3 and 4, with p = 0.8: (1 + 0.64 + 0.512) / (1 + 0.8 + 0.64 + 0.512)
    texts = ["a", "A", "b", "c"]
    assert UtilityK(ExactClasses())(texts) == pytest.approx(2.152 / 2.952)
    scores = {"a": 10.0, "A": 9.0, "b": 1.0, "c": 5.0}
    valued = UtilityK(ExactClasses(), utility=lambda given_: [scores[text] for text in given_])
    assert valued(texts) == pytest.approx((10 + 0.64 + 5 * 0.512) / 2.952)
    assert UtilityK(ExactClasses())(["a"]) == 1
    with pytest.raises(ConfigError, match="patience is 1"):
        UtilityK(ExactClasses(), patience=1)
    bad: list[Any] = [[1.0], [math.nan] * 4]
    for returned in bad:
        with pytest.raises(DataError, match="must return 4 finite numbers"):
            UtilityK(ExactClasses(), utility=lambda given_, returned=returned: returned)(texts)


@pytest.mark.parametrize("build", [DistinctK, SemanticEntropy, UtilityK])
def test_classes_must_be_given(build: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{build.__name__} counts classes .* give classes=EntailmentClasses"):
        build()


@pytest.mark.parametrize("name", ["distinct_k", "semantic_entropy", "utility_k"])
def test_classes_must_be_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} counts classes .* give --classes exact"):
        build_metrics([name], MetricOptions())


@pytest.mark.parametrize("returned", [[], [[0, 1]], [[0], [0, 1]], [[0, 1, 2], [0], [0]]])
def test_classes_that_are_not_one_a_text(returned: list[list[int]]) -> None:
    with pytest.raises(ModelError, match="classes of distinct_k put 2 sets"):
        DistinctK(lambda sets: returned).batch([["a", "b", "c"], ["d"]])


def test_classes_may_have_any_labels() -> None:
    labels: Any = [["x", "y", "x", "z"]]
    assert DistinctK(lambda sets: labels)(list("abcd")) == 3
    assert SemanticEntropy(lambda sets: labels)(list("abcd")) == pytest.approx(1.5 * math.log(2))
    assert UtilityK(lambda sets: labels)(list("abcd")) == pytest.approx((1 + 0.8 + 0.512) / 2.952)


@needs.data("noveltybench_scores_gemini-1.5-pro.jsonl.gz")
def test_noveltybench_has_published_these_figures() -> None:
    with gzip.open(needs.DATA / "noveltybench_scores_gemini-1.5-pro.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    utilities = iter([row["generation_scores"] for row in rows])
    outputs = [row["generations"] for row in rows]

    def classes(sets: Any) -> list[list[int]]:
        assert [list(texts) for texts in sets] == outputs
        return [row["partition"] for row in rows]

    # Their summary of distinct, 0.83, is that of classes numbered from 0.
    assert per_input_diversity(outputs, DistinctK(classes)).value == pytest.approx(1.83, abs=1e-12)
    metric = UtilityK(classes, utility=lambda texts: next(utilities))
    found = per_input_diversity(outputs, metric)
    assert found.value == pytest.approx(2.8658255953362173, abs=1e-12)
    assert found.values == pytest.approx([row["utility"] for row in rows], abs=1e-9)


def test_likelihood_entropy_by_hand() -> None:
    # p = 1/2, 1/4, 1/8 and 1/8 of "a", "b", "A", "c": classes of 5/8, 2/8 and 1/8.
    texts = ["a", "b", "A", "c"]
    logprobs = [[math.log(0.5)], [math.log(0.5)] * 2, [math.log(0.5)] * 3, [math.log(0.125)]]
    expected = -sum(p * math.log(p) for p in (5 / 8, 2 / 8, 1 / 8))
    metric = LikelihoodEntropy(ExactClasses())
    assert metric.batch_with_logprobs([texts], [logprobs]) == pytest.approx([expected])
    assert per_input_diversity([texts] * 3, metric, logprobs=[logprobs] * 3).value == pytest.approx(expected)
    # By token they are 1/2, 1/2, 1/2 and 1/8.
    shares = (8 / 13, 4 / 13, 1 / 13)
    by_token = LikelihoodEntropy(ExactClasses(), by_token=True).batch_with_logprobs([texts], [logprobs])
    assert by_token == pytest.approx([-sum(p * math.log(p) for p in shares)])


def test_likelihood_entropy_of_equally_likely_texts_is_that_of_shares() -> None:
    texts = ["yes", "no", "Yes", "maybe"]
    logprobs = [[-5000.0, -3.5]] * 4  # p itself is 0 in floating point
    found = LikelihoodEntropy(ExactClasses()).batch_with_logprobs([texts, []], [logprobs, []])
    assert found[0] == pytest.approx(SemanticEntropy(ExactClasses())(texts))
    assert math.isnan(found[1])


def test_likelihood_entropy_needs_log_probabilities() -> None:
    metric = LikelihoodEntropy(ExactClasses())
    with pytest.raises(ConfigError, match="likelihood_entropy needs the log-probabilities"):
        metric(["a", "b"])
    with pytest.raises(DataError, match=r"outputs, input 0 has no log-probabilities .* sample with --logprobs"):
        per_input_diversity([["a", "b"]], metric)
    with pytest.raises(DataError, match="logprobs has 1 inputs and outputs 2"):
        per_input_diversity([["a"], ["b"]], metric, logprobs=[[[-1.0]]])
    bad: list[Any] = [[[-1.0]], [[-1.0], -1.0], [[-1.0], [1.0]], [[-1.0], [math.nan]], [[-1.0], [-math.inf]], "no"]
    for given_ in bad:
        row = OutputsRow("a.jsonl, line 1", "p", ["a", "b"], given_)
        with pytest.raises(DataError, match=r"a.jsonl, line 1 has .* for the log-probabilities of 2 output\(s\)"):
            evaluate_diversity([row], {"x": metric}, levels=("per_input",))
    row = OutputsRow("x", "p", ["a", "b"], [[-1.0], [-2.0]])
    found = evaluate_diversity([row] * 3, {"x": metric})
    assert found.figure("across_input", "x") == Undefined("is one of the outputs of one input")
