"""N-gram cosine, Self-BLEU, self-repetition, compression and ROUGE-L, against nltk, plain loops and hand counts."""

from __future__ import annotations

import gzip
import itertools
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from genrlhf.data import rouge_l as rouge_l_of_data
from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics import (
    EAD,
    CompressionRatio,
    DistinctN,
    Homogenisation,
    NgramCosine,
    SelfBLEU,
    SelfRepetition,
)
from genrlhf.metrics.diversity.homogenisation import rouge_l
from genrlhf.metrics.diversity.ngrams import TextSets
from genrlhf.metrics.diversity.set_metric import as_set_metric

pytestmark = pytest.mark.filterwarnings("ignore:.* texts .* left out")

text = st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join)
some = st.lists(text, min_size=2, max_size=5)
LEXICAL: list[Any] = [
    EAD(),
    DistinctN(),
    NgramCosine(),
    SelfBLEU(),
    SelfRepetition(2),
    CompressionRatio(),
    Homogenisation(),
]


def ngrams(words: str, n: int) -> list[tuple[str, ...]]:
    split = words.split()
    return [tuple(split[i : i + n]) for i in range(len(split) - n + 1)]


def loop_cosine(texts: list[str], orders: tuple[int, ...]) -> float:
    values = []
    for first, second in itertools.combinations([t for t in texts if t], 2):
        cosines = []
        for n in orders:
            a, b = Counter(ngrams(first, n)), Counter(ngrams(second, n))
            lengths = math.sqrt(sum(c * c for c in a.values())) * math.sqrt(sum(c * c for c in b.values()))
            if a or b:
                cosines.append(sum(c * b[gram] for gram, c in a.items()) / lengths if lengths else 0.0)
        if cosines:
            values.append(sum(cosines) / len(cosines))
    return 1 - sum(values) / len(values) if values else math.nan


@given(some, st.sets(st.integers(1, 6), min_size=1).map(lambda orders: tuple(sorted(orders))))
def test_cosine_against_a_loop(texts: list[str], orders: tuple[int, ...]) -> None:
    assert NgramCosine(orders)(texts) == pytest.approx(loop_cosine(texts, orders), abs=1e-12, nan_ok=True)


def test_cosine_averages_the_orders_that_a_pair_has() -> None:
    # "a b" and "a c": 1/2 of words, 0 of bigrams; "a" and each: 1/√2 of words, 0 of bigrams.
    pairs = [(1 / 2 + 0) / 2, (1 / math.sqrt(2) + 0) / 2, (1 / math.sqrt(2) + 0) / 2]
    assert NgramCosine()(["a b", "a c", "a"]) == pytest.approx(1 - sum(pairs) / 3, abs=1e-12)
    assert NgramCosine(1)(["a b", "a b"]) == pytest.approx(0, abs=1e-15)
    assert math.isnan(NgramCosine(3)(["a b", "a b"]))


@given(some, st.integers(1, 4))
def test_self_bleu_against_nltk(texts: list[str], n: int) -> None:
    words = [t.split() for t in texts if t]
    scores = [
        sentence_bleu(
            words[:i] + words[i + 1 :],
            hypothesis,
            (1 / min(n, len(hypothesis)),) * min(n, len(hypothesis)),
            smoothing_function=SmoothingFunction().method1,
        )
        for i, hypothesis in enumerate(words)
        if len(words) > 1
    ]
    expected = sum(scores) / len(scores) if scores else math.nan
    assert SelfBLEU(n=n, tokenize=str.split)(texts) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_self_bleu_of_real_sentences_against_nltk() -> None:
    texts = [
        "The committee met on Monday to talk about the budget.",
        "On Monday the committee met and talked about the budget, the budget and nothing else.",
        "A storm hit the coast.",
        "The committee met on Monday to talk about the budget.",
    ]
    words = [t.split() for t in texts]
    scores = [
        sentence_bleu(words[:i] + words[i + 1 :], w, smoothing_function=SmoothingFunction().method1)
        for i, w in enumerate(words)
    ]
    assert SelfBLEU(tokenize=str.split)(texts) == pytest.approx(sum(scores) / 4, abs=1e-12)


@given(some, st.integers(1, 3))
def test_self_repetition_against_a_loop(texts: list[str], n: int) -> None:
    texts = [t for t in texts if t]
    total = 0.0
    for i, text in enumerate(texts):
        order = min(n, len(text.split()))
        others = [set(ngrams(other, order)) for j, other in enumerate(texts) if j != i]
        total += math.log(sum(gram in other for other in others for gram in set(ngrams(text, order))) + 1)
    expected = total / len(texts) if len(texts) > 1 else math.nan
    assert SelfRepetition(n)([*texts, "", "?!"]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(some)
def test_homogenisation_is_the_mean_rouge_l_of_pairs(texts: list[str]) -> None:
    scores = [rouge_l_of_data(a, b) for a, b in itertools.combinations([t for t in texts if t], 2)]
    expected = sum(scores) / len(scores) if scores else math.nan
    assert Homogenisation()(texts) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_rouge_l_by_hand() -> None:
    # police the gunman, as Lin 2004 has it: "police killed the gunman" and "the gunman police killed": 2 of 4
    pairs = [
        ("police killed the gunman", "the gunman police killed"),
        ("Police kill the gunman!", "police the gunman"),
        ("", "a"),
        ("今天好", "今天不好"),
    ]
    assert rouge_l(pairs) == pytest.approx([0.5, 6 / 7, math.nan, 6 / 7], nan_ok=True)
    assert rouge_l([("A b", "a b")], tokenize=str.split) == [0.5]


def test_homogenisation_with_a_measure_of_ones_own() -> None:
    def first_letter(pairs: list[tuple[str, str]]) -> list[float]:
        asked.append(list(pairs))
        return [float(a[:1] == b[:1]) for a, b in pairs]

    asked: list[list[tuple[str, str]]] = []
    metric = Homogenisation(first_letter)
    assert metric.name == "homogenisation_first_letter"
    assert metric.batch([["ab", "ac", "b"], ["b", "ab"], ["x"]])[:2] == pytest.approx([1 / 3, 0])
    assert [sorted(pairs) for pairs in asked] == [[("ab", "ac"), ("ab", "b"), ("ac", "b")]]
    with pytest.raises(ConfigError, match="measure is 'bleu'; give 'rouge_l', 'bert_score' or a callable"):
        Homogenisation("bleu")  # type: ignore[arg-type]


def test_a_pair_budget_draws_pairs_with_a_seed() -> None:
    texts = [f"w{i % 3} w{i % 5} w{i}" for i in range(30)]
    every = Homogenisation(max_pairs=None)(texts)
    drawn = [Homogenisation(max_pairs=50, seed=seed)(texts) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == pytest.approx(every, abs=0.15)
    assert Homogenisation(max_pairs=435)(texts) == every


def test_compression_ratio() -> None:
    texts = ["the cat sat on the mat"] * 20
    data = " ".join(texts).encode()
    assert CompressionRatio()(texts) == len(data) / len(gzip.compress(data, 9, mtime=0))
    assert CompressionRatio()(texts) > 5 > CompressionRatio()(texts[:1])
    assert CompressionRatio("xz")(texts) > 1
    assert math.isnan(CompressionRatio()(["", " "]))
    with pytest.raises(ConfigError, match="algorithm is 'zip'"):
        CompressionRatio("zip")  # type: ignore[arg-type]


any_texts = st.lists(st.text(max_size=20), min_size=2, max_size=6)


@pytest.mark.parametrize("metric", LEXICAL, ids=lambda metric: metric.name)
@given(any_texts, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_any_text_is_taken(metric: Any, texts: list[str], draw: Any) -> None:
    value = metric(texts)
    assert not math.isinf(value)
    shuffled = draw.sample(texts, len(texts))
    if metric.name != "compression_ratio":
        assert metric(shuffled) == pytest.approx(value, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("metric", [NgramCosine(1), SelfBLEU(n=1), Homogenisation()], ids=lambda metric: metric.name)
@given(some.filter(all))
def test_copies_of_one_text_are_least_diverse(metric: Any, texts: list[str]) -> None:
    sign = 1 if metric.higher_is_more_diverse else -1
    copies = metric(texts[:1] * len(texts))
    assert copies == pytest.approx(0 if sign == 1 else 1)
    assert sign * (metric(texts) - copies) >= -1e-9


@pytest.mark.parametrize("metric", [m for m in LEXICAL if m.name not in ("compression_ratio",)], ids=lambda m: m.name)
def test_many_sets_at_once_are_the_same_as_one_by_one(metric: Any) -> None:
    sets = [["a b c d", "b c d e a", "a b c d"], ["é ü", "é ß é", ""], ["one two three four five six", "two three"]]
    assert metric.batch(sets) == pytest.approx([metric(texts) for texts in sets], abs=1e-12)


@pytest.mark.parametrize("metric", [NgramCosine(), SelfBLEU(), Homogenisation()], ids=lambda m: m.name)
def test_one_text_is_undefined(metric: Any) -> None:
    assert math.isnan(metric(["a b c"])) and metric.min_texts == 2


def test_every_text_is_split_once() -> None:
    asked: list[str] = []

    def split(given_: str) -> list[str]:
        asked.append(given_)
        return given_.split()

    sets = TextSets([["a b", "c d"], ["a b", "e"]])
    for metric in (
        EAD(tokenize=split),
        DistinctN(tokenize=split),
        SelfRepetition(tokenize=split),
        SelfBLEU(tokenize=split),
    ):
        metric.batch(sets)
    assert sorted(asked) == ["a b", "c d", "e"]


@pytest.mark.parametrize("metric", LEXICAL, ids=lambda metric: metric.name)
@given(st.lists(text, min_size=3, max_size=8), st.integers(1, 4))
def test_leaving_out_blocks_is_measuring_the_rest(metric: Any, texts: list[str], size: int) -> None:
    blocks = [list(range(start, min(start + size, len(texts)))) for start in range(0, len(texts), size)]
    found = as_set_metric(metric).left_out(texts, blocks)
    expected = [metric([each for i, each in enumerate(texts) if i not in block]) for block in blocks]
    assert found.value == pytest.approx(metric(texts), abs=1e-12, nan_ok=True)
    assert found.without.tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_what_is_no_text_is_refused() -> None:
    for metric in LEXICAL:
        with pytest.raises(DataError, match="row 1 is None, not a string"):
            metric(["a", None])
