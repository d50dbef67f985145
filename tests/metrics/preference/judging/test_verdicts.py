"""Reading judges' answers: what is meant, what is not, and text that means harm."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrlhf.metrics.preference.judging.verdicts import (
    LogprobReader,
    read_letter,
    read_patterns,
    read_ranking,
    read_scores,
    read_verdict,
)

PATTERNS = {1: re.compile(r"\(a\)"), 2: re.compile(r"\(b\)"), 0: re.compile("tie")}
READERS: list[Any] = [read_ranking, read_letter, read_verdict, read_scores, lambda text: read_patterns(text, PATTERNS)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]", 1),
        ("[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]", 2),
        ('```json\n[\n  {"rank": 1, "model": "model_2"},\n  {"rank": 2, "model": "model_1"},\n]\n```', 2),
        ('Sure! [{"model": "model_1", "rank": "1"}, {"model": "model_2", "rank": "2"}] Anything else?', 1),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 1}]", 1.5),
        ("[{'model': 'model_1', 'rank': 1}]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_1', 'rank': 2}]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_3', 'rank': 2}]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]" * 2, None),
        ("model_1 is better", None),
        ("", None),
        ("[{'model': 'model_1', 'rank': __import__('os').system('true')}, {'model': 'model_2', 'rank': 2}]", None),
    ],
)
def test_rankings(text: str, expected: float | None) -> None:
    assert read_ranking(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m", 1),
        ("M", 2),
        (" 'M'.\n", 2),
        ("**m**", 1),
        ("(m)", 1),
        ("mM", None),
        ("model", None),
        ("", None),
        ("n", None),
    ],
)
def test_letters(text: str, expected: float | None) -> None:
    assert read_letter(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[A]]", 1),
        ("I thought [[A]] at first, but no: [[ b ]]", 2),
        ("[[C]]", 1.5),
        ("[A]", None),
        ("[[D]]", None),
    ],
)
def test_verdicts_after_reasoning(text: str, expected: float | None) -> None:
    assert read_verdict(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 1\nmore", 1),
        ("1, 7", 2),
        ("8.5 8.5", 1.5),
        ("7", None),
        ("7 1 3", None),
        ("a b", None),
        ("nan 1", None),
        ("1e999 2", None),
    ],
)
def test_scores(text: str, expected: float | None) -> None:
    assert read_scores(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("(b) is better than (a)", 2), ("(a)", 1), ("a tie between (a) and (b)", 1.5), ("none", None)],
)
def test_patterns(text: str, expected: float | None) -> None:
    assert read_patterns(text, PATTERNS) == expected


hostile = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(
            [
                *"[]{}()'\":,.\n 0129",
                "model",
                "rank",
                "model_1",
                "model_2",
                "'model': 'model_1'",
                '"rank": 1',
                "{'model': 'model_2', 'rank': 2}",
                "[[A]]",
                "[[B",
                "__import__('os')",
                "\x00",
                "\ud800",
                "m",
                "M",
                "1e9",
                "٣",
            ]
        ),
        max_size=60,
    ).map("".join),
)


@settings(max_examples=10_000, deadline=None)
@given(hostile)
def test_fifty_thousand_hostile_answers(text: str) -> None:
    # Ten thousand texts for each of five readers.
    for read in READERS:
        assert read(text) in (None, 1, 1.5, 2)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 3_000_000,
        "{" * 1_000_000 + "}" * 1_000_000,
        "{'model': '" * 300_000,
        "{'model'" + " " * 3_000_000 + ": 'model_1'",
        "1" * 4_000_000 + " " + "2" * 4_000_000,
        "[[" * 1_500_000 + "A",
        "()" * 2_000_000,
    ],
    ids=lambda text: text[:9],
)
def test_megabytes_are_read_in_no_time(text: str) -> None:
    start = time.process_time()
    assert [read(text) for read in READERS] == [None] * 5
    # Milliseconds; a pattern that goes astray would take hours.
    assert time.process_time() - start < 20


def test_the_verdict_of_a_long_answer_is_at_its_end() -> None:
    assert read_verdict("thinking " * 100_000 + "[[B]]") == 2


@pytest.mark.parametrize(
    ("likely", "expected", "binary"),
    [
        ({"m": 0.3, "M": 0.1, "?": 0.6}, 1.25, 1),
        ({"m": 0.1, "M": 0.3}, 1.75, 2),
        ({"M": 0.9, "?": 0.1}, 2, 2),
        ({"m": 1e-9}, 1, 1),
        ({"m": 0.4, "M": 0.4}, 1.5, 2),
        ({"?": 1.0}, None, None),
        ({}, None, None),
    ],
)
def test_log_probabilities(likely: dict[str, float], expected: float | None, binary: float | None) -> None:
    said = [{token: math.log(share) for token, share in likely.items()}]
    found = LogprobReader("m", ("m", "M"))(said)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-12))
    assert LogprobReader("m", ("m", "M"), binarise=True)(said) == binary


def test_log_probabilities_of_other_positions() -> None:
    said = [{"m": 0.0}, {"M": 0.0}]
    assert [LogprobReader("m", ("m", "M"), position=place)(said) for place in (0, 1, -1, -2)] == [1, 2, 2, 1]
    assert [LogprobReader("m", ("m", "M"), position=place)(said) for place in (2, -3)] == [None, None]
    assert LogprobReader("m", ("m", "M"))([]) is None
    assert LogprobReader("m", ("m", "M"))([{"m": -1000.0, "M": -math.inf}]) == 1
    assert LogprobReader("m", ("m", "M"))([{"m": -math.inf, "M": -math.inf}]) is None


def test_a_ranking_whose_second_name_does_not_matter() -> None:
    said = "[{'model': 'gpt', 'rank': 1}, {'model': 'm', 'rank': 2}]"
    assert read_ranking(said, ("m", None)) == 2
    assert read_ranking(said) is None
    assert read_ranking("[{'model': 'm', 'rank': 1}, {'model': 'm', 'rank': 2}]", ("m", None)) is None
