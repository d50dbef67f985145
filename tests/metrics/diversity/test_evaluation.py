"""Many metrics over a stream of rows: the figures of the functions, in bounded memory."""

from __future__ import annotations

import dataclasses
import itertools
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.metrics import (
    EAD,
    DistinctN,
    NLIDiversity,
    SelfBLEU,
    SentenceBERT,
    compare_diversity,
    per_input_diversity,
    pooled_diversity,
)
from genrlhf.metrics.diversity.catalogue import METRICS, MetricOptions, build_metrics
from genrlhf.metrics.diversity.evaluation import OutputsRow, Undefined, evaluate_diversity
from genrlhf.metrics.diversity.levels import across_input_diversity
from genrlhf.metrics.diversity.pairs import draw_pairs
from genrlhf.metrics.diversity.set_metric import SetMetric
from genrlhf.types import Estimate


def rows(outputs: list[list[str]], prompts: list[Any] | None = None) -> list[OutputsRow]:
    prompts = [f"prompt {i}" for i in range(len(outputs))] if prompts is None else prompts
    return [
        OutputsRow(f"x.jsonl, line {i}", prompt, texts)
        for i, (prompt, texts) in enumerate(zip(prompts, outputs, strict=True), start=1)
    ]


def letters(texts: list[str]) -> np.ndarray:
    return np.array([[text.count(letter) + 0.1 for letter in "abcd"] for text in texts])


def some_outputs(seed: int, n: int = 40, k: int = 3) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    return [[" ".join(generator.choice(list("abcdefgh"), 6)) for _ in range(k)] for _ in range(n)]


def test_figures_are_those_of_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.metrics.diversity.evaluation._CHUNK_TEXTS", 21)
    outputs = some_outputs(0)
    metrics = {"ead": EAD(), "sentence_bert": SentenceBERT(letters)}
    done: list[int] = []
    found = evaluate_diversity(
        rows(outputs), metrics, levels=("per_input", "across_input", "pooled"), progress=done.append
    )
    assert done == [7] * 5 + [5]
    assert found.mean_words == 6 and found.outputs_per_input == 3
    for name, metric in metrics.items():
        for level, expected in (
            ("per_input", per_input_diversity(outputs, metric)),
            ("across_input", across_input_diversity(outputs, metric)),
            ("pooled", pooled_diversity(outputs, metric)),
        ):
            figure: Any = found.figure(level, name)  # type: ignore[arg-type]
            assert isinstance(figure, Estimate)
            assert (figure.value, figure.stderr, *figure.ci, figure.n) == pytest.approx(
                (expected.value, expected.stderr, *expected.ci, expected.n), abs=1e-12
            )


def test_comparison_goes_by_prompt() -> None:
    ours, theirs = some_outputs(0), some_outputs(1)
    prompts = [f"prompt {i}" for i in range(40)]
    metrics = {"distinct": DistinctN()}
    first = evaluate_diversity(rows(ours, prompts), metrics, draws=2)
    order = list(np.random.default_rng(0).permutation(40))
    second = evaluate_diversity(rows([theirs[i] for i in order], [prompts[i] for i in order]), metrics, draws=2)
    aligned = second.in_order_of(first, ("a", "b"))
    found: Any = aligned.comparison(first, "per_input", "distinct")
    expected = compare_diversity(ours, theirs, DistinctN())
    assert found.difference.value == pytest.approx(expected.difference.value, abs=1e-12)
    assert found.p_value == pytest.approx(expected.p_value)
    across: Any = aligned.comparison(first, "across_input", "distinct")
    assert across.difference.n == 40
    assert all(text in theirs[i] for texts in aligned.texts["across_input"] for i, (text,) in enumerate(texts))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["a", "x"], r"do not hold the same prompts: 1 of the 2 of the first .* such as that of input 1"),
        (["a", "b", "c"], r"do not hold the same prompts: 0 of the 2 of the first are not among the 3"),
        (["a", "a"], r"second, inputs 0 and 1 have the same prompt"),
        (["a", None], r"second, input 1 has no prompt"),
    ],
)
def test_prompts_that_do_not_line_up(prompts: list[Any], message: str) -> None:
    metrics = {"distinct": DistinctN()}
    first = evaluate_diversity(rows([["x", "y"]] * 2, ["a", "b"]), metrics)
    second = evaluate_diversity(rows([["x", "y"]] * len(prompts), prompts), metrics)
    with pytest.raises(DataError, match=message):
        second.in_order_of(first, ("first", "second"))


def test_other_numbers_of_outputs_are_not_compared() -> None:
    metrics = {"self_bleu": SelfBLEU()}
    one = evaluate_diversity(rows([["a"], ["b"]]), metrics)
    two = evaluate_diversity(rows([["a", "b"], ["c", "d"]]), metrics)
    with pytest.raises(DataError, match=r"x has 1 output\(s\) of an input and y has 2; .* compare as many of both"):
        two.in_order_of(one, ("x", "y"))


def test_undefined_figures_say_why() -> None:
    metrics = {"ead": EAD(), "sentence_bert": SentenceBERT(letters)}
    alone = evaluate_diversity(rows([["a b"], ["c d"]]), metrics)
    assert isinstance(alone.figure("per_input", "ead"), Estimate)
    assert isinstance(alone.figure("across_input", "sentence_bert"), Estimate)
    figure = alone.figure("per_input", "sentence_bert")
    assert figure == Undefined("needs 2 outputs of an input, and there is one")
    assert figure.to_dict() == {
        "value": None,
        "stderr": None,
        "ci": [None, None],
        "n": 0,
        "reason": "needs 2 outputs of an input, and there is one",
    }
    assert isinstance(alone.comparison(alone, "per_input", "sentence_bert"), Undefined)
    empty = evaluate_diversity(rows([["", ""], [" ", ""]]), metrics)
    assert empty.figure("per_input", "ead") == Undefined("4 of 4 texts (100.0%) have no words and are left out")
    assert empty.figure("across_input", "ead") == Undefined("2 of 2 texts (100.0%) have no words and are left out")
    assert isinstance(empty.comparison(empty, "per_input", "ead"), Undefined)
    assert isinstance(empty.comparison(empty, "across_input", "ead"), Undefined)
    single = evaluate_diversity(rows([["a", "b"]]), metrics)
    assert single.figure("across_input", "sentence_bert") == Undefined("needs 2 texts, and there is one")
    some = evaluate_diversity(rows([["", ""], ["a b", "a b"]]), metrics).figure("per_input", "ead")
    assert isinstance(some, Estimate) and some.n == 1


def test_the_error_of_a_pair_budget() -> None:
    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        return [[0, 0, 1] if a[0] == b[0] else [0.8, 0.1, 0.1] for a, b in zip(premises, hypotheses, strict=True)]

    metric = NLIDiversity(scorer, split="texts", max_pairs=100)
    found = evaluate_diversity(
        rows(some_outputs(0)), {"nli": metric, "ead": EAD()}, levels=("across_input", "pooled"), draws=4
    )
    # The same 100 of the 780 pairs of places in every draw: the mean over draws of each is what varies.
    places = draw_pairs(40, 100, random.Random(0))
    drawn = [[text for (text,) in inputs] for inputs in found.texts["across_input"]]
    scores = np.array([[-2 if texts[i][0] == texts[j][0] else 1.6 for i, j in places] for texts in drawn])
    expected = scores.mean(axis=0).std(ddof=1) * ((1 - 100 / 780) / 100) ** 0.5
    assert found.pair_error("across_input", "nli") == pytest.approx(expected, rel=1e-9)
    figure: Any = found.figure("across_input", "nli")
    assert figure.stderr >= expected
    assert found.pair_error("pooled", "nli") > 0
    assert found.pair_error("per_input", "nli") == found.pair_error("across_input", "ead") == 0


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([["a", "b"], []], r"x.jsonl, line 2 has no outputs; sample some, or drop the row"),
        ([["a", "b"], ["a"]], r"x.jsonl, line 2 has 1 output\(s\), and the first row has 2"),
        ([], r"There are no outputs to measure"),
    ],
)
def test_rows_that_cannot_be_measured(outputs: list[list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_diversity(rows(outputs), {"ead": EAD()})
    with pytest.raises(ConfigError, match="draws is 0"):
        evaluate_diversity(rows([["a"]]), {"ead": EAD()}, draws=0)


def test_a_stream_is_not_kept() -> None:
    def stream(n: int) -> Iterator[OutputsRow]:
        for i in range(n):
            yield OutputsRow("x", i, [f"{i} {'long ' * 800}", "short"])

    def peak(n: int) -> int:
        tracemalloc.start()
        evaluate_diversity(
            stream(n), {"distinct_1": DistinctN(1, tokenize=lambda text: text[:9].split())}, levels=("per_input",)
        )
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # 4,096 more rows hold 16 MB of text.
    assert peak(8192) - peak(4096) < 2e6


def test_every_metric_of_the_catalogue_is_made_and_measures() -> None:
    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        return [[0, 0, 1] if a == b else [0.8, 0.1, 0.1] for a, b in zip(premises, hypotheses, strict=True)]

    from genrlhf.metrics import Embedder
    from genrlhf.metrics.diversity.nli_scorer import SharedScorer

    for definition, classes in itertools.product(
        ("published", "kirk2023", "released-code"), ("exact", "embedding", "entailment")
    ):
        options = MetricOptions(
            definition=definition,  # type: ignore[arg-type]
            classes=classes,  # type: ignore[arg-type]
            embedder=Embedder(letters),
            scorer=SharedScorer(scorer),
        )
        names = [
            name
            for name in METRICS
            if name not in ("bert_score", "likelihood_entropy")
            and not (definition == "released-code" and name.startswith("nli_"))
        ]
        metrics = build_metrics(names, options)
        found = evaluate_diversity(rows(some_outputs(0, n=5)), metrics)
        for name in names:
            assert isinstance(found.figure("per_input", name), Estimate), name
            assert isinstance(found.figure("across_input", name), Estimate), name
    assert build_metrics(["bert_score"], MetricOptions())
    with pytest.raises(ConfigError, match="There is no metric 'eda'; the metrics are ead, ead_1"):
        build_metrics(["eda"], MetricOptions())


def test_an_evaluation_does_not_change() -> None:
    found = evaluate_diversity(rows(some_outputs(0)), {"ead": EAD()}, levels=("per_input", "across_input"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.seed = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        found.values["ead"][0] = 0
    left: Any = found.left["across_input"]["ead"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        left.value = 1


class Counted:
    """The number of texts; counts the sets that it was asked about."""

    name = "counted"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts: Sequence[str]) -> float:
        self.asked += 1
        return float(len(texts))


def test_leaving_out_is_done_once_for_figure_pair_error_and_comparison() -> None:
    metric = Counted()
    both = [evaluate_diversity(rows(some_outputs(seed)), {"counted": metric}, blocks=5) for seed in (0, 1)]
    asked = metric.asked
    assert asked == 2 * (40 + 1 + 5)
    first, second = both
    aligned = second.in_order_of(first, ("a", "b"))
    for level in ("per_input", "across_input"):
        first.figure(level, "counted"), aligned.figure(level, "counted"), aligned.pair_error(level, "counted")  # type: ignore[arg-type]
        aligned.comparison(first, level, "counted")  # type: ignore[arg-type]
    assert metric.asked == asked and aligned is second


def test_words_are_split_once_for_all_metrics() -> None:
    asked: list[str] = []

    def split(text: str) -> list[str]:
        asked.append(text)
        return text.split()

    metrics = {
        "ead": EAD(tokenize=split),
        "distinct": DistinctN(tokenize=split),
        "self_bleu": SelfBLEU(tokenize=split),
    }
    outputs = [[f"{i} {j} a b" for j in range(3)] for i in range(10)]
    evaluate_diversity(rows(outputs), metrics, levels=("per_input",))
    assert sorted(asked) == sorted(itertools.chain(*outputs))


@pytest.mark.parametrize("returned", [[], [1.0], [1.0] * 41, [[1.0] * 40]])
def test_a_metric_that_returns_too_few_or_too_many_values_is_named(returned: list[Any]) -> None:
    class Short:
        name = "short"

        def __call__(self, texts: Sequence[str]) -> float:
            return 1.0

        def batch(self, sets: Sequence[Sequence[str]]) -> list[Any]:
            return returned

    class ShortSet(SetMetric):
        name = "short"

        def batch(self, sets: Sequence[Sequence[str]]) -> list[Any]:
            return returned

    class ShortLeft(Short):
        def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, list[Any]]:
            return 1.0, returned

    outputs = some_outputs(0)
    for metric in (Short(), ShortSet()):
        for call in (
            lambda metric=metric: per_input_diversity(outputs, metric),
            lambda metric=metric: evaluate_diversity(rows(outputs), {"x": metric}),
            lambda metric=metric: compare_diversity(outputs, outputs, metric),
        ):
            with pytest.raises(ModelError, match=r"short returned values of shape \(.*\) for 40 sets of texts"):
                call()
    with pytest.raises(ModelError, match=r"short returned values of shape"):
        across_input_diversity(outputs, ShortLeft(), blocks=7)


@pytest.mark.parametrize("draws", [None, 1, 3])
def test_functions_and_evaluation_take_the_same_outputs(draws: int | None) -> None:
    outputs = some_outputs(0)
    found: Any = evaluate_diversity(rows(outputs), {"ead": EAD()}, draws=draws, seed=4).figure("across_input", "ead")
    settings: Any = {} if draws is None else {"seed": 4, "draws": draws}
    same = across_input_diversity(outputs, EAD(), **settings)
    assert (found.value, found.stderr, found.ci) == (same.value, same.stderr, same.ci)
    if draws is None:
        assert found.value == EAD()([texts[0] for texts in outputs])
