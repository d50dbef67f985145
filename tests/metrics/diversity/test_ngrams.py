"""Distinct n-grams and their adjustment, against hand counts, an explicit loop, and limits."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics import EAD, DistinctN
from genrlhf.metrics.diversity.ngrams import ngram_table

pytestmark = pytest.mark.filterwarnings("ignore:.* texts .* left out")

texts = st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), min_size=1, max_size=5)


def loop_counts(sets: list[str], n: int) -> tuple[int, int]:
    seen: list[str] = []
    for text in sets:
        tokens = text.split()
        for start in range(len(tokens) - n + 1):
            seen.append("|".join(tokens[start : start + n]))
    return len(set(seen)), len(seen)


@given(texts, st.integers(1, 6))
def test_counts_against_a_loop(sets: list[str], n: int) -> None:
    table = ngram_table([sets, [], sets[:1]], str.split)
    distinct, total = table.counts(n)
    found = list(zip(distinct.tolist(), total.tolist(), strict=True))
    assert found == [loop_counts(sets, n), (0, 0), loop_counts(sets[:1], n)]


def test_distinct_by_hand() -> None:
    # words: a b a | b a b → 2 of 6; pairs: ab ba | ba ab → 2 of 4; triples: aba, bab → 2 of 2
    sets = ["a b a", "b a b"]
    assert DistinctN(1)(sets) == pytest.approx(1 / 3, rel=1e-12)
    assert DistinctN(2)(sets) == 0.5
    assert DistinctN((1, 2, 3))(sets) == pytest.approx((1 / 3 + 1 / 2 + 1) / 3, rel=1e-12)
    # orders 4 and 5 have no n-grams and are left out
    assert DistinctN()(sets) == pytest.approx((1 / 3 + 1 / 2 + 1) / 3, rel=1e-12)


def test_ead_by_hand_in_exact_fractions() -> None:
    # The same counts with V = 4: N / (4 (1 − (3/4)^C)) for (N, C) = (2, 6), (2, 4), (2, 2)
    expected = sum(Fraction(2) / (4 * (1 - Fraction(3, 4) ** total)) for total in (6, 4, 2)) / 3
    assert EAD(vocab_size=4)(["a b a", "b a b"]) == pytest.approx(float(expected), rel=1e-12)


@given(texts.filter(lambda sets: any(sets)))
def test_ead_of_a_huge_vocabulary_is_distinct(sets: list[str]) -> None:
    assert EAD(vocab_size=10**15)(sets) == pytest.approx(DistinctN()(sets), rel=1e-9)


@given(texts.filter(lambda sets: any(sets)), st.integers(4, 100000))
def test_ead_lies_between_distinct_and_the_inverse_of_the_expectation(sets: list[str], size: int) -> None:
    words, total = loop_counts(sets, 1)
    value = EAD(vocab_size=size, n=1)(sets)
    assert value >= words / total - 1e-12
    # No set of words does better than one in which all of min(C, V) words differ.
    best = Fraction(min(total, size)) / (size * (1 - (1 - Fraction(1, size)) ** total))
    assert value <= float(best) + 1e-12


def test_ead_of_one_word_is_one_whatever_the_vocabulary() -> None:
    assert EAD(vocab_size=7)(["word"]) == pytest.approx(1, rel=1e-12)
    assert EAD()(["word"]) == pytest.approx(1, rel=1e-12)


def test_ead_of_all_distinct_words_passes_one() -> None:
    sets = [" ".join(f"w{number}" for number in range(1000))]
    assert EAD(n=1)(sets) == pytest.approx(1 + 1000 / (2 * 50257), abs=2e-4)
    assert EAD(n=1)(sets) > 1.009


def test_ead_of_uniform_draws_is_one_at_every_length() -> None:
    draw = random.Random(0)
    for length in (50, 500, 5000):
        sets = [" ".join(f"w{draw.randrange(300)}" for _ in range(length))]
        assert EAD(vocab_size=300, n=1)(sets) == pytest.approx(1, abs=0.06)


@given(texts)
def test_order_of_texts_does_not_matter_and_no_ngram_spans_two(sets: list[str]) -> None:
    metric = DistinctN(2)
    one, other = metric(sets), metric(sets[::-1])
    assert one == other or (math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("metric", [DistinctN(), EAD()])
def test_repeats_lower_and_empty_texts_do_nothing(metric: DistinctN | EAD) -> None:
    sets = ["the cat sat down here", "a dog ran up there"]
    assert metric([*sets, *sets]) < metric(sets)
    assert metric([*sets, "", " "]) == metric(sets)
    assert math.isnan(metric(["", ""]))
    assert math.isnan(metric([]))


def test_tokenize_is_used() -> None:
    assert DistinctN(1)(["End. end."]) == 0.75  # End . end .
    assert DistinctN(1, tokenize=str.split)(["End. end."]) == 1
    assert DistinctN(1, tokenize=lambda text: text.lower().split())(["End. end."]) == 0.5


@pytest.mark.parametrize("n", [0, (), (1, 0), "12"])
def test_bad_orders(n: object) -> None:
    with pytest.raises(ConfigError, match="order of n-grams"):
        EAD(n=n)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="order of n-grams"):
        DistinctN(n)  # type: ignore[arg-type]


def test_bad_vocabulary_and_texts() -> None:
    with pytest.raises(ConfigError, match="vocab_size is 1"):
        EAD(vocab_size=1)
    with pytest.raises(DataError, match="texts is 'a bare string'"):
        EAD()("a bare string")
    with pytest.raises(DataError, match="texts, row 1 is None"):
        DistinctN()(["a", None])  # type: ignore[list-item]


@pytest.mark.parametrize("build", [EAD, DistinctN])
@pytest.mark.parametrize("definition", ["published", "released-code"])
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), min_size=3, max_size=8), st.integers(1, 4))
def test_leaving_out_blocks_is_measuring_the_rest(build: Any, definition: str, sets: list[str], size: int) -> None:
    metric = build(definition=definition)
    blocks = [list(range(start, min(start + size, len(sets) - 1))) for start in range(0, len(sets) - 1, size)]
    value, without = metric.leave_out(sets, blocks)
    expected = [metric([text for i, text in enumerate(sets) if i not in block]) for block in blocks]
    assert value == pytest.approx(metric(sets), abs=1e-12, nan_ok=True)
    assert without == pytest.approx(expected, abs=1e-12, nan_ok=True)
