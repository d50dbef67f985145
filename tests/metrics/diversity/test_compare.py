"""Paired comparisons, their tests, and matched lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics import (
    DistinctN,
    SentenceBERT,
    across_input_diversity,
    compare_diversity,
    match_lengths,
    mean_words,
)
from genrlhf.metrics.diversity.lengths import count_words, length_warning


def test_per_input_difference() -> None:
    first, second = [["a b", "c d"]] * 20, [["a b", "a b"]] * 19 + [["a b", "c d"]]
    found = compare_diversity(first, second, DistinctN(1))
    assert found.difference.value == pytest.approx(-0.475)
    assert found.difference.ci[1] < 0 and found.p_value is not None and found.p_value < 0.001


def test_difference_across_inputs_is_a_paired_jackknife() -> None:
    def encode(texts: list[str]) -> np.ndarray:
        return np.array([[text.count(letter) + 0.1 for letter in "abcdef"] for text in texts])

    generator = np.random.default_rng(0)
    first = [["".join(generator.choice(list("abcdef"), 5))] for _ in range(60)]
    second = [[text + "a"] for (text,) in first]
    metric = SentenceBERT(encode)
    found = compare_diversity(first, second, metric, level="across_input")
    ours, theirs = (across_input_diversity(outputs, metric) for outputs in (first, second))
    assert found.difference.value == pytest.approx(theirs.value - ours.value, abs=1e-12)
    assert found.p_value is None
    # What both share cancels, so the pairs tell more than two separate errors would.
    assert found.difference.stderr < 0.7 * math.hypot(ours.stderr, theirs.stderr)


def test_comparisons_of_other_inputs() -> None:
    with pytest.raises(DataError, match="outputs of 1 inputs and of 2"):
        compare_diversity([["a", "b"]], [["a", "b"]] * 2, DistinctN())
    with pytest.raises(ConfigError, match="level is 'pooled'"):
        compare_diversity([["a", "b"]], [["a", "b"]], DistinctN(), level="pooled")  # type: ignore[arg-type]


words = st.lists(st.text("abc", min_size=1, max_size=3), max_size=6).map(" ".join)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_matched_lengths_are_equal_and_only_cut(pairs: list[tuple[str, str]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    (ours,), (theirs,) = match_lengths([first], [second])
    assert sorted(map(count_words, ours)) == sorted(map(count_words, theirs))
    for before, after in zip([*first, *second], [*ours, *theirs], strict=True):
        assert before.startswith(after)
    ranked = zip(*(sorted(map(count_words, side)) for side in (first, second)), strict=True)
    assert sum(map(count_words, ours)) == sum(map(min, ranked))


def test_matching_keeps_blanks_and_refuses_other_counts() -> None:
    assert match_lengths([["a  b\nc"]], [["x y"]]) == ([["a  b"]], [["x y"]])
    with pytest.raises(DataError, match="Input 0 has 1 outputs of one model and 2"):
        match_lengths([["a"]], [["a", "b"]])
    with pytest.raises(DataError, match="outputs of 1 inputs and of 0"):
        match_lengths([["a"]], [])


def test_length_warning() -> None:
    assert mean_words([["a b c", ""], ["d"]]) == pytest.approx(4 / 3)
    assert length_warning(10, 11.9, ("a", "b")) is None
    assert length_warning(0, 0, ("a", "b")) is None
    message = length_warning(12, 10, ("a", "b"))
    assert message is not None and "of a have 12.0 words" in message and "of b 10.0" in message
