"""How far two sets of texts are apart: by hand, by independent loops, by identities."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics import embedding_distance, length_difference, shift_between, word_difference
from genrlhf.metrics.shift import word_shift

PLACES = {text: np.random.default_rng(place).normal(size=4) for place, text in enumerate("abcdefgh")}


def encode(texts: list[str]) -> np.ndarray:
    return np.array([PLACES[text] for text in texts])


def test_word_difference_is_the_divergence_less_what_shuffles_have() -> None:
    # The same word in all but one text of either set, so that every shuffle is one of few: J₀ by hand.
    first, second = ["a", "a", "b"], ["a", "a", "b"]
    assert word_shift(first, second) == 0
    # Both b in one set, (1/3, 2/3) against (1, 0): chance 2/5; else 0.
    m = 2 / 3
    apart = (math.log2(1 / m) + math.log2((1 / 3) / m) / 3 + math.log2((2 / 3) / (1 / 3)) * 2 / 3) / 2
    found = {round(word_difference(first, second, seed=seed).value, 12) for seed in range(40)}
    possible = {round((0 - apart * k / 10) / (1 - apart * k / 10), 12) for k in range(11)}
    assert found <= possible and len(found) > 1


def test_no_shift_is_near_zero_and_no_common_word_is_one() -> None:
    generator = np.random.default_rng(0)
    draw = [" ".join(f"w{int(i)}" for i in generator.zipf(1.5, 20)) for _ in range(400)]
    same = word_difference(draw[:200], draw[200:])
    assert abs(same.value) < 0.01 < word_shift(draw[:200], draw[200:]) and same.ci[0] < 0 < same.ci[1]
    assert word_difference(["a b"] * 5, ["c d"] * 5).value == 1
    # The size of the sets makes no difference.
    small = np.mean([word_difference(draw[i : i + 20], draw[i + 200 : i + 220]).value for i in range(0, 180, 20)])
    assert abs(small) < 0.03


def test_length_is_a_standardised_difference_of_log_words() -> None:
    first, second = ["a", "a b", "a b c"], ["a b c d", "a b c d e f", "a b"]
    x, y = np.log([2, 3, 4]), np.log([5, 7, 3])
    expected = (y.mean() - x.mean()) / math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    assert length_difference(first, second).value == pytest.approx(expected, rel=1e-12)
    assert length_difference(second, first).value == pytest.approx(-expected, rel=1e-12)
    # In scripts without blanks characters count.
    assert length_difference(["日本", "日本語"], ["日", "日本語日本語"]).value == pytest.approx(
        length_difference(["a b", "a b c"], ["a", "a b c a b c"]).value
    )


def test_length_has_the_error_of_leaving_texts_out() -> None:
    generator = np.random.default_rng(1)
    sides = [["w " * int(n) for n in generator.integers(1, 40, size)] for size in (7, 9)]
    found = length_difference(*sides)
    variance = 0.0
    for side in (0, 1):
        n = len(sides[side])
        left = [
            length_difference(*[s[:i] + s[i + 1 :] if k == side else s for k, s in enumerate(sides)]).value
            for i in range(n)
        ]
        variance += (n - 1) / n * float(((np.array(left) - np.mean(left)) ** 2).sum())
    assert found.stderr == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_energy_distance_by_pairs() -> None:
    first, second = list("abcd"), list("efg")
    units = {text: place / np.linalg.norm(place) for text, place in PLACES.items()}

    def mean(pairs: Any) -> float:
        return float(np.mean([np.linalg.norm(units[a] - units[b]) for a, b in pairs]))

    expected = (
        2 * mean(itertools.product(first, second))
        - mean(itertools.permutations(first, 2))
        - mean(itertools.permutations(second, 2))
    )
    found = embedding_distance(first, second, encode)
    assert found.value == pytest.approx(expected, rel=1e-12) and found.n == 7
    lefts = [embedding_distance(first[:i] + first[i + 1 :], second, encode).value for i in range(4)]
    others = [embedding_distance(first, second[:i] + second[i + 1 :], encode).value for i in range(3)]
    variance = sum((len(x) - 1) / len(x) * np.sum((np.array(x) - np.mean(x)) ** 2) for x in (lefts, others))
    assert found.stderr == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_energy_distance_of_the_same_texts_is_not_above_zero() -> None:
    # Without bias: equal texts are no pairs within a set, and are between the sets.
    assert embedding_distance(list("abcd"), list("abcd"), encode).value < 0
    assert embedding_distance(["a"] * 3, ["a"] * 3, encode).value == pytest.approx(0, abs=1e-7)


def test_a_shift_has_what_was_asked_for() -> None:
    without = shift_between(["a", "b"], ["c", "d"])
    assert without.embedding is None and set(without.to_dict()) == {"words", "length"}
    found = shift_between(list("abcd"), list("efgh"), encoder=encode)
    assert found.measured()["embedding"].value == embedding_distance(list("abcd"), list("efgh"), encode).value
    assert shift_between(list("abcd"), list("efgh"), encoder=encode, max_embedded=3).embedding.n == 6  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["a"], ["b", "c"], "first has 1 text"),
        (["a", "b"], [], "second has 0 text"),
        (["a", "b"], ["", " "], "no words"),
    ],
)
def test_what_cannot_be_compared_is_said(first: list[str], second: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        shift_between(first, second)


def test_too_few_texts_to_embed_is_an_error() -> None:
    with pytest.raises(ConfigError, match="max_embedded is 1"):
        shift_between(["a", "b"], ["c", "d"], encoder=encode, max_embedded=1)


def test_what_does_not_vary_has_no_interval() -> None:
    assert str(length_difference(["a b"] * 3, ["a b"] * 3)) == "0.000 [unknown]"
    assert math.isnan(length_difference(["a b"] * 3, ["a"] * 3).value)
    assert math.isnan(word_difference(["a b"] * 5, ["c d"] * 5).ci[0])
    # Every text in words of its own: no shuffle has a word in common.
    assert math.isnan(word_difference(["a", "b"], ["c", "d"]).value)
