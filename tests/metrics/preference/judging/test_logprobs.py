"""Reading preferences by degree from the likeliest tokens of an answer."""

from __future__ import annotations

import math

import pytest

from genrlhf.metrics.preference.judging.logprobs import LogprobReader


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


def likely(**shares: float) -> dict[str, float]:
    return {token: math.log(share) for token, share in shares.items()}


@pytest.mark.parametrize(
    "forms",
    [
        (" m", " M"),
        ("▁m", "▁M"),
        ("Ġm", "ĠM"),
        ('"m', "'M"),
        ("m.", "**M"),
        ("\nm", "(M)"),
        ("「m", "「M"),
        ("ｍ", "Ｍ"),
    ],
)
def test_what_stands_around_a_letter_means_nothing(forms: tuple[str, str]) -> None:
    said = [{forms[0]: math.log(0.3), forms[1]: math.log(0.1), "the": math.log(0.5)}]
    assert LogprobReader("m", ("m", "M"))(said) == pytest.approx(1.25, rel=1e-12)


def test_the_variants_of_a_letter_add_up() -> None:
    said = [likely(**{"m": 0.1, " m": 0.2, "M": 0.3, ' "M': 0.1, "model": 0.3})]
    assert LogprobReader("m", ("m", "M"))(said) == pytest.approx(2 - 0.3 / 0.7, rel=1e-12)
    # The tokens themselves are more likely in one order, all that stand for them in the other.
    said = [likely(**{"m": 0.3, "M": 0.2, " M": 0.2})]
    assert LogprobReader("m", ("m", "M"), binarise=True)(said) == 2


def test_exact_tokens_where_there_are_any_as_alpaca_eval_reads_them() -> None:
    read = LogprobReader("m", ("m", "M"), exact=True)
    assert read([likely(**{"m": 0.2, "M": 0.2, " M": 0.5})]) == 1.5
    assert read([likely(**{" m": 0.3, " M": 0.1})]) == pytest.approx(1.25, rel=1e-12)


def test_case_counts_only_where_it_tells_letters_apart() -> None:
    assert LogprobReader("A", ("A", "B"))([likely(**{"a": 0.3, " B": 0.1})]) == pytest.approx(1.25, rel=1e-12)
    assert LogprobReader("m", ("m", "M"))([likely(**{"M": 0.3})]) == 2


def test_tokens_that_are_no_letter() -> None:
    read = LogprobReader("m", ("m", "M"))
    assert read([likely(**{"model": 0.5, "м": 0.2, "mm": 0.1, "": 0.1, " ": 0.1, "m" * 10_000: 0.01})]) is None
    assert read([{"m": math.nan, "M": math.inf}]) is None


def test_behind_reasoning_the_letters_are_where_they_are_likely() -> None:
    said = [
        likely(**{"<think>": 0.99, "M": 0.01}),
        likely(m=0.1, so=0.9),
        likely(**{" m": 0.6, " M": 0.2}),
        likely(M=1e-6),
    ]
    assert LogprobReader("m", ("m", "M"))(said, thought=True) == pytest.approx(1.25, rel=1e-12)
    assert LogprobReader("m", ("m", "M"))(said[:2], thought=True) is None
