"""Agreement between annotators, against hand arithmetic, textbooks and scikit-learn."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.preference.validating.agreement import (
    agreement,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    label_counts,
    leave_one_out,
    majority,
    others_majority,
    win_labels,
)

LABELS = [0.0, 0.5, 1.0]
labels = st.lists(st.sampled_from(LABELS), min_size=2, max_size=9)


def test_labels_say_what_a_share_leans_to() -> None:
    assert win_labels([0, 0.49, 0.5, 0.51, 1]).tolist() == [0, 0, 0.5, 1, 1]
    assert win_labels([0.5 + 1e-12, 0.5 - 1e-12]).tolist() == [0.5, 0.5]
    assert win_labels(0.7).shape == () and win_labels([[0.2], [0.5]]).tolist() == [[0], [0.5]]


@pytest.mark.parametrize("share", [-0.1, 1.1, 2.0, math.nan, math.inf])
def test_what_is_no_label(share: float) -> None:
    with pytest.raises(DataError, match=r"A label is .*; it must be a win share from 0 to 1"):
        win_labels([0.5, share])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(1, 1, 1), (0, 0, 1), (0.5, 0.5, 1), (1, 0, 0), (0, 1, 0), (0.5, 1, 0.5), (0, 0.5, 0.5), (0.6, 0.9, 1)],
)
def test_agreement(first: float, second: float, expected: float) -> None:
    assert agreement([first], [second]).tolist() == [expected]


def test_agreement_of_every_one_with_every_other() -> None:
    table = agreement(np.array([[0.0], [1.0]]), np.array([[0.0, 0.5, 1.0]]))
    assert table.tolist() == [[1, 0.5, 0], [0, 0.5, 1]]
    with pytest.raises(DataError, match=r"labels of shapes \(2,\) and \(3,\)"):
        agreement([0, 1], [0, 1, 1])


def test_cohen_kappa_of_the_textbook_table() -> None:
    # 20 both yes, 5 and 10 one of them, 15 both no: p_o = 0.7, p_e = 0.5 · 0.6 + 0.5 · 0.4 = 0.5.
    first = [1.0] * 25 + [0.0] * 25
    second = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4, abs=1e-12)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=2, max_size=40))
def test_cohen_kappa_is_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    first, second = zip(*pairs, strict=True)
    found = cohen_kappa(first, second)
    if len({*first, *second}) == 1:
        assert math.isnan(found)
        return
    names = {0.0: "loss", 0.5: "tie", 1.0: "win"}
    reference = cohen_kappa_score([names[x] for x in first], [names[x] for x in second])
    assert found == pytest.approx(reference, abs=1e-12)


def test_cohen_kappa_needs_labels_of_the_same_pairs() -> None:
    for first, second in (([1, 0], [1]), ([], []), (1, 1)):
        with pytest.raises(DataError, match=r"There are labels of shapes .*; give one of each annotator"):
            cohen_kappa(first, second)


# Ten subjects, fourteen raters, five categories.
TEXTBOOK = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def test_fleiss_kappa_of_the_textbook_table() -> None:
    # P = 0.378 and P_e = 0.213, as published.
    assert fleiss_kappa(TEXTBOOK) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_of_unequal_numbers_of_ratings() -> None:
    # P_i = 1, 1/3, 0; p = (4/7, 3/7).
    mean, chance = (1 + 1 / 3 + 0) / 3, (16 + 9) / 49
    assert fleiss_kappa([[2, 0], [1, 2], [1, 1]]) == pytest.approx((mean - chance) / (1 - chance), abs=1e-12)


def test_one_rating_says_nothing() -> None:
    assert fleiss_kappa([*TEXTBOOK, [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]) == fleiss_kappa(TEXTBOOK)


def test_fleiss_kappa_where_it_is_undefined() -> None:
    assert math.isnan(fleiss_kappa([[1, 0], [0, 1]]))
    assert math.isnan(fleiss_kappa([[3, 0], [2, 0]]))
    assert fleiss_kappa([[3, 0], [0, 2]]) == 1


def test_what_is_no_table_of_counts() -> None:
    with pytest.raises(DataError, match=r"counts has the shape \(2,\)"):
        fleiss_kappa([1, 2])
    for wrong in (-1, 0.5, math.nan):
        with pytest.raises(DataError, match=r"A count is .*; counts of ratings are whole numbers"):
            fleiss_kappa([[3, wrong]])


@pytest.mark.parametrize(
    ("given_labels", "expected"),
    [
        ([1], 1),
        ([0, 0, 1], 0),
        ([0.5, 0.5, 1], 0.5),
        ([1, 0], 0.5),
        ([1, 0.5], 0.5),
        ([1, 1, 0.5, 0.5, 0], 0.5),
        ([1, 1, 0.5, 0], 1),
        # By degree: two lean to the second, one is sure of the first.
        ([0.6, 0.6, 0], 1),
    ],
)
def test_majority(given_labels: list[float], expected: float) -> None:
    assert majority(given_labels) == expected


def test_a_majority_needs_labels() -> None:
    with pytest.raises(DataError, match="There are no labels"):
        majority([])


def test_label_counts() -> None:
    assert label_counts([0, 1, 1, 0.5, 0.9, 1]).tolist() == [1, 1, 4]
    assert label_counts([0]).tolist() == [1, 0, 0]


def test_leaving_one_out_by_hand() -> None:
    # The others of each: {1, 0, 0}, {1, 0, 0}, {1, 1, 0} twice.
    assert others_majority([1, 1, 0, 0]).tolist() == [0, 0, 1, 1]
    assert leave_one_out([1, 1, 0, 0]).tolist() == [0, 0, 0, 0]
    assert leave_one_out([1, 1, 1, 0]).tolist() == [1, 1, 1, 0]
    assert leave_one_out([1, 0.5]).tolist() == [0.5, 0.5]
    assert leave_one_out([0.8, 0.6, 0.5]).tolist() == [0.5, 0.5, 0.5]


@given(labels)
def test_leaving_one_out_is_what_a_loop_does(given_labels: list[float]) -> None:
    expected = [majority(given_labels[:i] + given_labels[i + 1 :]) for i in range(len(given_labels))]
    assert others_majority(given_labels).tolist() == expected
    assert leave_one_out(given_labels).tolist() == [1 - abs(a - b) for a, b in zip(given_labels, expected, strict=True)]


@pytest.mark.parametrize("given_labels", [[1.0], [], [[1.0, 0.0]]])
def test_one_alone_cannot_be_left_out(given_labels: list[float]) -> None:
    with pytest.raises(DataError, match="leaving one out takes two annotators"):
        leave_one_out(given_labels)


def alpha_by_loop(table: list[list[float]], level: str) -> float:
    """Krippendorff's own form: any two labels of one pair, weighted by how many it has, over any two labels."""
    units = [[row[i] for row in table if not math.isnan(row[i])] for i in range(len(table[0]))]
    units = [unit for unit in units if len(unit) > 1]
    every = [label for unit in units for label in unit]

    def distance(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = sorted((a, b))
        between = sum(low <= label <= high for label in every)
        return (between - (every.count(low) + every.count(high)) / 2) ** 2 if a != b else 0.0

    observed = sum(
        sum(distance(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units
    ) / len(every)
    expected = sum(distance(a, b) for a, b in itertools.permutations(every, 2)) / (len(every) * (len(every) - 1))
    return 1 - observed / expected if expected else math.nan


tables = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([*LABELS, math.nan]), min_size=width, max_size=width), min_size=2, max_size=5
    )
)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@given(tables)
def test_alpha_against_a_loop(level: Any, table: list[list[float]]) -> None:
    pytest.importorskip("krippendorff", reason="needs krippendorff, which Python 3.10 has not")
    counts = [[row[i] for row in table if not math.isnan(row[i])] for i in range(len(table[0]))]
    every = {label for unit in counts if len(unit) > 1 for label in unit}
    expected = alpha_by_loop(table, level) if len(every) > 1 else math.nan
    assert krippendorff_alpha(table, level=level) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_alpha_refuses_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="level is 'ratio'"):
        krippendorff_alpha([[1, 0], [1, 0]], level="ratio")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"labels has the shape \(2,\)"):
        krippendorff_alpha([1, 0])
    with pytest.raises(DataError, match="A label is 2"):
        krippendorff_alpha([[2, 0], [1, 0]])
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1]]))
    assert math.isnan(krippendorff_alpha([[1, math.nan], [math.nan, 0]]))
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    with pytest.raises(ConfigError, match=r"needs the package krippendorff .*pip install 'genrlhf\[agreement\]'"):
        krippendorff_alpha([[1, 0], [1, 0]])
