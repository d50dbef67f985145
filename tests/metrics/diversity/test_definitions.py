"""Figures that others have published, or that follow from the definitions by hand, under every definition."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from genrlhf.errors import ConfigError
from genrlhf.metrics import EAD, DistinctN, NgramCosine, NLIDiversity, per_input_diversity

# The measurement card of Liu et al.'s own implementation prints these figures for these texts.
CARD = ["Hi.", "I am sorry to hear that", "I don't know", "Do you know who that person is?"]


def test_ead_and_distinct_of_the_official_card() -> None:
    # Theirs takes the power as it stands, which costs the last digits.
    assert EAD(50257, n=1, tokenize=str.split)(CARD) == pytest.approx(0.8236605104867569, abs=1e-11)
    assert DistinctN(1, tokenize=str.split)(CARD) == pytest.approx(0.8235294117647058, abs=1e-15)


def test_released_ead_counts_missing_orders_as_zero() -> None:
    # Three orders of all-distinct n-grams, each all but 1, and two orders without any: 3 / 5.
    texts = [f"a{i} b{i} c{i}" for i in range(16)]
    assert EAD(definition="released-code")(texts) == pytest.approx(0.6, abs=5e-4)
    assert EAD(definition="published")(texts) == EAD(definition="kirk2023")(texts) == pytest.approx(1, abs=5e-4)
    assert DistinctN(definition="released-code")(texts) == pytest.approx(0.6, abs=1e-12)


@pytest.mark.parametrize("build", [EAD, DistinctN])
def test_released_code_counts_sets_without_words_as_zero(build: Any) -> None:
    released = build(definition="released-code")
    assert [released(texts) for texts in (["", ""], ["...", "\n"], [" "])] == [0, 0, 0]
    assert released.leave_out(["", "a"], [[1], [0]])[1][0] == 0
    assert math.isnan(build()(["", ""]))
    # The mean over inputs has them in it.
    outputs = [["a b", "a b"], ["", ""]]
    assert per_input_diversity(outputs, released).value == released(["a b", "a b"]) / 2
    assert per_input_diversity(outputs, build()).n == 1


def test_released_ead_passes_one() -> None:
    # 500 texts of 35 different words out of 40,000: about 40000 (1 − (1 − 35/40000)^500) different words of 17,500.
    draw = random.Random(0)
    texts = [" ".join(f"w{i}" for i in draw.sample(range(40_000), 35)) for _ in range(500)]
    assert EAD(definition="released-code")(texts) == pytest.approx(1.128, abs=1e-3)


def test_released_words_are_what_single_blanks_separate() -> None:
    assert DistinctN(1, definition="released-code")(["End. end.", "end"]) == pytest.approx(2 / 3)
    assert DistinctN(1, definition="released-code")(["a\nb", "ab"]) == 0.5


def test_released_cosine_takes_trigrams_alone() -> None:
    texts = ["a b c d", "a b c e."]
    assert NgramCosine(definition="released-code")(texts) == pytest.approx(1 - 1 / 2)
    assert NgramCosine(3, tokenize=lambda text: text.strip(".").split())(texts) == pytest.approx(1 - 1 / 2)


def says_equal(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
    """Equal texts entail each other with certainty, others contradict each other with 0.6."""
    return [[0, 0, 1] if a == b else [0.6, 0.3, 0.1] for a, b in zip(premises, hypotheses, strict=True)]


def test_released_nli_turns_the_sign() -> None:
    assert NLIDiversity(says_equal, definition="released-code")(["same"] * 4) == pytest.approx(3.0)
    # 1 − (−2 + 1.2 + 1.2) / 3
    metric = NLIDiversity(says_equal, definition="released-code")
    assert metric(["a", "a", "b"]) == pytest.approx(1 - 0.4 / 3)
    assert not metric.higher_is_more_diverse
    assert NLIDiversity(says_equal).higher_is_more_diverse


def test_released_nli_puts_a_full_stop_behind_texts() -> None:
    asked: list[str] = []

    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        asked.extend(premises)
        return says_equal(premises, hypotheses)

    NLIDiversity(scorer, definition="released-code")(["It rains.", "no"])
    assert sorted(asked) == ["It rains..", "no."]


def test_released_sentences_are_five_characters() -> None:
    asked: list[tuple[str, str]] = []

    def scorer(premises: list[str], hypotheses: list[str]) -> list[list[float]]:
        asked.extend(zip(premises, hypotheses, strict=True))
        return says_equal(premises, hypotheses)

    metric = NLIDiversity(scorer, definition="released-code", split="sentences")
    # All characters equal: every one of the five scores −2, and the mean is divided by 5 once more.
    assert metric(["aaaaaaaaa", "aaaaaaa"]) == pytest.approx(1 + 2 / 5)
    assert set(asked) == {("a.", "a.")}
    assert metric(["aa", "aaaa"]) == pytest.approx(1 + 2 / 2)


@pytest.mark.parametrize(
    ("definition", "expected"), [("published", -2 + 1.2 + 1.2), ("kirk2023", 0.4 / 3), ("released-code", 1 - 0.4 / 3)]
)
def test_nli_under_every_definition(definition: Any, expected: float) -> None:
    assert NLIDiversity(says_equal, definition=definition)(["a", "a", "b"]) == pytest.approx(expected)


def test_definitions_agree_where_only_the_code_differs() -> None:
    texts = ["the cat sat on a mat", "the dog sat", ""]
    for build in (EAD, DistinctN, NgramCosine):
        make: Callable[..., Any] = build
        assert make(definition="published")(texts) == make(definition="kirk2023")(texts)
        with pytest.raises(ConfigError, match="definition is 'mine'; give one of 'published', 'kirk2023'"):
            make(definition="mine")
    with pytest.raises(ConfigError, match="definition is 'mine'"):
        NLIDiversity(says_equal, definition="mine")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="confidence variant only"):
        NLIDiversity(says_equal, definition="released-code", variant="baseline")
