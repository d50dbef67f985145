"""pass@k, pass^k, Cover@τ and majority@k against brute force, other libraries and an identity."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.solutions import cover_at_tau, majority_at_k, pass_at_k, pass_hat_k, valid_share

FEW = st.lists(st.booleans(), min_size=1, max_size=7)


def subsets(n: int, k: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(n), k))


@given(FEW, st.integers(1, 7))
def test_passing_is_a_share_of_all_subsets(verdicts: list[bool], k: int) -> None:
    if k > len(verdicts):
        assert math.isnan(pass_at_k([verdicts], k).value)
        assert math.isnan(pass_hat_k([verdicts], k).value)
        return
    drawn = [[verdicts[i] for i in each] for each in subsets(len(verdicts), k)]
    assert pass_at_k([verdicts], k).value == pytest.approx(np.mean([any(each) for each in drawn]), abs=1e-12)
    assert pass_hat_k([verdicts], k).value == pytest.approx(np.mean([all(each) for each in drawn]), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    # What the inner functions of inspect_ai 0.3.285 (scorer/_reducer/reducer.py, pass_at) and lighteval 0.13.0
    # (metrics/metrics_sample.py, PassAtK.pass_at_k) return, which agree to the last digit.
    [
        (10, 3, 4, 0.8333333333333334),
        (256, 1, 64, 0.25),
        (256, 17, 16, 0.6783293215876943),
        (256, 200, 2, 0.9528186274509803),
        (1000, 3, 500, 0.8753753753753754),
        (16, 16, 8, 1.0),
        (16, 0, 8, 0.0),
        (5, 2, 5, 1.0),
    ],
)
def test_pass_at_k_is_that_of_other_libraries(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k([[True] * c + [False] * (n - c)], k).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(100_000, 3, 50_000), (100_000, 99_990, 7), (5000, 2500, 2500)])
def test_large_numbers_neither_overflow_nor_lose_digits(n: int, c: int, k: int) -> None:
    verdicts = [[True] * c + [False] * (n - c)]
    exact = 1 - math.comb(n - c, k) / math.comb(n, k) if n < 6000 else 1 - stats.hypergeom(n, c, k).pmf(0)
    assert pass_at_k(verdicts, k).value == pytest.approx(exact, abs=1e-9)
    assert 0 <= pass_hat_k(verdicts, k).value <= 1


def test_an_input_with_fewer_than_k_has_no_value_and_is_not_counted_as_solved() -> None:
    # Inspect gives NaN for 2 of 4 right and k = 5, lighteval 1.0.
    found = pass_at_k([[True, True, False, False], [True] + [False] * 9], 5)
    assert (found.n, found.value) == (1, pytest.approx(0.5))
    none = pass_at_k([[True, True, False, False]], 5)
    assert none.n == 0
    assert none.to_dict() == {"value": None, "stderr": None, "ci": [None, None], "n": 0}


def test_all_or_nothing_still_has_an_interval_with_a_width() -> None:
    low, high = pass_at_k([[True] * 8] * 10, 4).ci
    assert low == pytest.approx(0.7224672, abs=1e-6)  # Wilson, 10 of 10
    assert high == 1.0


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6), st.integers(1, 6))
def test_pass_at_k_is_an_integral_of_cover_at_tau(verdicts: list[list[bool]], k: int) -> None:
    # k ∫ (1 − τ)^(k − 1) Cover@τ dτ; Cover is a step function that changes at multiples of 1/5
    steps = np.linspace(0, 1, 6)
    area = sum(
        integrate.quad(lambda tau: k * (1 - tau) ** (k - 1) * cover_at_tau(verdicts, tau).value, low, high)[0]
        for low, high in itertools.pairwise(steps)
    )
    expected = np.mean([1 - (1 - np.mean(each)) ** k for each in verdicts])
    assert area == pytest.approx(expected, abs=1e-12)


def test_cover_reaches_a_share_that_is_not_exact_in_binary() -> None:
    verdicts = [[True] * 3 + [False] * 7, [True] * 2 + [False] * 8]
    assert cover_at_tau(verdicts, 0.3).value == 0.5
    assert cover_at_tau(verdicts, 0.1 + 0.2).value == 0.5
    assert cover_at_tau([[True] * 7 + [False] * 3], 0.7).value == 1.0


def majority_by_hand(answers: list[str | None], right: list[bool], k: int) -> float:
    shares = {
        answer: np.mean([r for a, r in zip(answers, right, strict=True) if a == answer])
        for answer in answers
        if answer is not None
    }
    values = []
    for each in subsets(len(answers), k):
        votes = [answers[i] for i in each if answers[i] is not None]
        most = max((votes.count(answer) for answer in votes), default=0)
        values.append(np.mean([shares[a] for a in set(votes) if votes.count(a) == most]) if votes else 0.0)
    return float(np.mean(values))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans()), min_size=1, max_size=7),
    st.integers(1, 7),
)
def test_majority_is_the_mean_over_all_subsets(outputs: list[tuple[str | None, bool]], k: int) -> None:
    answers, right = [a for a, _ in outputs], [r for _, r in outputs]
    found = majority_at_k([answers], [right], k)
    if k > len(outputs):
        assert math.isnan(found.value)
    else:
        assert found.value == pytest.approx(majority_by_hand(answers, right, k), abs=1e-12)


def test_majority_of_one_is_pass_at_1_and_of_many_does_not_overflow() -> None:
    answers = [[str(i % 40) for i in range(1200)]]
    right = [[i % 40 < 10 for i in range(1200)]]
    assert majority_at_k(answers, right, 1).value == pytest.approx(valid_share(right).value, abs=1e-12)
    # All answers are equally frequent, so that each is as likely to win.
    assert majority_at_k(answers, right, 8).value == pytest.approx(0.25, abs=1e-9)


def test_majority_merges_what_is_the_same_answer() -> None:
    assert majority_at_k([["Yes", " yes", "no"]], [[True, True, False]], 3).value == 1.0


@pytest.mark.parametrize(
    ("verdicts", "message"),
    [
        ("yes", "verdicts is 'yes'; give a list"),
        ([], "verdicts is empty"),
        ([[]], "input 0 has none"),
        ([[True], True], "input 1 is True"),
        ([[True, None]], "input 0, output 1 is None"),
        ([[0.5]], "input 0, output 0 is 0.5.*threshold"),
        ([[float("nan")]], "output 0 is nan"),
        ([["True"]], "output 0 is 'True'"),
    ],
)
def test_what_is_no_verdict_is_named(verdicts: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pass_at_k(verdicts, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_k_is_a_whole_number(k: object) -> None:
    for figure in (pass_at_k, pass_hat_k):
        with pytest.raises(ConfigError, match="whole number of at least 1"):
            figure([[True]], k)  # type: ignore[arg-type]


def test_numbers_of_arrays_and_of_json_are_verdicts() -> None:
    for given_ in ([[1, 0]], [[1.0, 0.0]], np.array([[True, False]]), [(np.True_, np.False_)]):
        assert pass_at_k(given_, 1).value == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize("tau", [0, -0.1, 1.1, float("nan")])
def test_tau_is_a_share(tau: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        cover_at_tau([[True]], tau)
