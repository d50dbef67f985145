"""Reading judges' answers: what is meant, what is not, and text that means harm."""

from __future__ import annotations

import random
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrlhf.metrics.preference.judging.verdicts import (
    read_choice,
    read_letter,
    read_patterns,
    read_ranking,
    read_scores,
    read_verdict,
)

PATTERNS = {1: re.compile(r"\(a\)"), 2: re.compile(r"\(b\)"), 0: re.compile("tie")}
READERS: list[Any] = [
    read_ranking,
    read_letter,
    read_verdict,
    read_scores,
    read_choice,
    lambda text: read_patterns(text, PATTERNS),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]", 1),
        ("[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]", 2),
        ('```json\n[\n  {"rank": 1, "model": "model_2"},\n  {"rank": 2, "model": "model_1"},\n]\n```', 2),
        ('Sure! [{"model": "model_1", "rank": "1"}, {"model": "model_2", "rank": "2"}] Anything else?', 1),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 1}]", 1.5),
        ('[{"model": "model_1", "rank": 1.0}, {"model": "model_2", "rank": 2.0}]', 1),
        ('[{"model": "model_1", "rank": "2nd"}, {"model": "model_2", "rank": "1st"}]', 2),
        ('{"model": "model_2", "rank": 1}\n{"model": "model_1", "rank": 2}', 2),
        (
            '{"why": "model_1 rambles", "ranking": [{"model": "model_1", "rank": 2}, {"model": "model_2", "rank": 1}]}',
            2,
        ),
        ('{"a": 1} [{"model": "model_1", "rank": 1, "why": "\'rank\': 2"}, {"model": "model_2", "rank": 2}]', 1),
        ('[{"model": "model_1", "rank": 2, "why": "{x} [y]"}, {"model": "model_2", "rank": 1, "why": {"a": "}"}}]', 2),
        ('{"a": {"b": [{"model": "model_1", "rank": 1}]}, "c": {"model": "model_2", "rank": 2}}', 1),
        ('Scores [1, 2} and {so on: [{"model": "model_1", "rank": 1}, {"model": "model_2", "rank": 2}]', 1),
        ('[{"model": "Model 2", "rank": 1}, {"model": "MODEL_1", "rank": 2}]', 2),
        ("model_1 is better than model_2: [{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2},]", 1),
        ('[{"model": "model_1", "rank": 1, "rank": 2}, {"model": "model_2", "rank": 1}]', None),
        ("[{'model': 'model_1', 'rank': 1, 'rank': 2}, {'model': 'model_2', 'rank': 1}]", None),
        ('[{"model": "model_1", "rank": true}, {"model": "model_2", "rank": 2}]', None),
        ('[{"model": "model_1", "rank": NaN}, {"model": "model_2", "rank": 2}]', None),
        ('[{"model": "model_1", "rank": null}, {"model": "model_2", "rank": 2}]', None),
        ('[{"model": "model_1", "rank": "best"}, {"model": "model_2", "rank": 2}]', None),
        ('[{"model": "model_1", "rank": 1' + "0" * 1500 + '}, {"model": "model_2", "rank": 2}]', None),
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
        ("```text\nM\n```", 2),
        ("**Answer:** M", 2),
        ("Antwort: m.", 1),
        ("答案：Ｍ。", 2),
        ("M\n\nThe second keeps to the post.", 2),
        ("Both are short.\nM", 2),
        ("\\boxed{\\text{m}}", 1),
        ("The better one is <|begin_of_box|>m<|end_of_box|>", 1),
        ("«M»", 2),
        ("\u200bm\u200b", 1),
        ("m\nM", None),
        ("m: M", None),
        ("model_1: M", None),
        ("m or M", None),
        # Cyrillic letters that look like these: small and large look alike there.
        ("М", None),
        ("м", None),
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
        ("A is right.\n\n**[[B]]**\n\nIf you meant [[A]] by that, tell me.", 2),
        ("[[A]]\nNo, I was wrong:\n[[B]]", 2),
        ("I thought [[A]] at first, but no: [[ b ]]", 2),
        ("[[C]]", 1.5),
        ("**[[B]]**", 2),
        ("[[**b**]]", 2),
        ("第二个更好。【【B】】", 2),
        ("［［Ａ］］", 1),
        ("\\[\\[A\\]\\]", 1),
        # Cyrillic: the third letter there, and like a B.
        ("[[В]]", None),
        ("[A]", None),
        ("[[D]]", None),
    ],
)
def test_verdicts_after_reasoning(text: str, expected: float | None) -> None:
    assert read_verdict(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"better": "model_2"}', 2),
        ('```json\n{\n  "better": "model_1"\n}\n```', 1),
        ("{'better': 'neither'}", 1.5),
        ('{"why": "x", "better": "Model_1"}', 1),
        ('{"why": "it has {x} and }", "better": "model_2"}', 2),
        ('{"better": "model_1"} {"better": "model_2"}', None),
        ('{"better": "model_1", "better": "model_2"}', None),
        ('{"better": "model_3"}', None),
        ('{"better": 1}', None),
        ('{"better": ["model_1"]}', None),
        ("model_1", None),
    ],
)
def test_structured_choices(text: str, expected: float | None) -> None:
    assert read_choice(text) == expected


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
    [
        ("(b) is better", 2),
        ("(a)", 1),
        ("a tie", 1.5),
        ("none", None),
        ("(b) is better than (a)", None),
        ("(a), yes, (a)", None),
        ("a tie between (a) and (b)", None),
        ("(a)" + "." * 30_000 + "(b)", None),
    ],
)
def test_patterns(text: str, expected: float | None) -> None:
    assert read_patterns(text, PATTERNS) == expected


HOSTILE = [
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


@settings(max_examples=1000, deadline=None)
@given(st.text(max_size=200) | st.lists(st.sampled_from(HOSTILE), max_size=60).map("".join))
def test_hostile_answers(text: str) -> None:
    for read in READERS:
        assert read(text) in (None, 1, 1.5, 2)


def test_fifty_thousand_hostile_answers() -> None:
    # Nine thousand texts for each of six readers.
    generator = random.Random(0)
    for _ in range(9000):
        text = "".join(generator.choices(HOSTILE, k=generator.randrange(61)))
        for read in READERS:
            assert read(text) in (None, 1, 1.5, 2), text


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
    assert [read(text) for read in READERS] == [None] * len(READERS)
    # Milliseconds; a pattern that goes astray would take hours.
    assert time.process_time() - start < 20


def test_the_verdict_of_a_long_answer_is_at_its_end() -> None:
    assert read_verdict("thinking " * 100_000 + "[[B]]") == 2


def test_patterns_are_searched_for_as_alpaca_eval_does() -> None:
    # Behind a match the text begins anew, and of two at one place the first that is given counts.
    starts = {1: re.compile("^a"), 2: re.compile("^b")}
    assert read_patterns("ax", starts) == 1
    assert read_patterns("ab", starts) is None
    assert read_patterns("xyz", {2: re.compile("xy"), 1: re.compile("x")}) == 2
    assert read_patterns("", {1: re.compile("")}) is None


def test_letters_that_differ_in_more_than_case() -> None:
    assert [read_letter(text, ("A", "B")) for text in ("a", "(B)", "b.", "m")] == [1, 2, 2, None]


def test_a_ranking_whose_second_name_does_not_matter() -> None:
    said = "[{'model': 'gpt', 'rank': 1}, {'model': 'm', 'rank': 2}]"
    assert read_ranking(said, ("m", None)) == 2
    assert read_ranking(said) is None
    assert read_ranking("[{'model': 'm', 'rank': 1}, {'model': 'm', 'rank': 2}]", ("m", None)) is None
