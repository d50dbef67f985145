"""The gap between two independent figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.metrics.preference import generalisation_gap, generalisation_gaps, word_shift
from genrlhf.types import Estimate


def known(value: float, down: float, up: float, n: int = 4) -> Estimate:
    return Estimate(value=value, stderr=1.0, ci=(value - down, value + up), n=n, values=np.zeros(0))


def test_by_hand() -> None:
    # Down: the first's own 3 and the second's upwards 4; up: 12 and 5.
    gap = generalisation_gap(known(10, 3, 12), known(7, 5, 4, n=6))
    assert gap.value == 3 and gap.ci == pytest.approx((3 - 5, 3 + 13)) and gap.n == 10
    assert gap.stderr == pytest.approx(math.sqrt(2), rel=1e-12)
    assert gap.values.shape == (0,)


def test_the_gap_of_win_rates_is_newcombes() -> None:
    # 56 of 70 less 48 of 80, Newcombe 1998, table II, method 10
    inside, outside = ([1.0] * wins + [0.0] * (n - wins) for wins, n in ((56, 70), (48, 80)))
    gap = generalisation_gap(proportion_estimate(inside), proportion_estimate(outside))
    assert gap.ci == pytest.approx((0.0524, 0.3339), abs=5.1e-5)
    unanimous = generalisation_gap(proportion_estimate([1.0] * 10), proportion_estimate([0.0] * 10))
    assert unanimous.ci == pytest.approx((0.6075, 1), abs=5.1e-5)


def test_the_other_way_round_is_the_negative() -> None:
    first, second = mean_estimate([1, 0, 1, 1]), proportion_estimate([0, 0, 1, 0, 1, 0])
    gap, back = generalisation_gap(first, second), generalisation_gap(second, first)
    assert (back.value, back.stderr) == (-gap.value, gap.stderr)
    assert back.ci == pytest.approx((-gap.ci[1], -gap.ci[0]), rel=1e-12)


def test_one_side_without_spread_leaves_the_other_sides_interval() -> None:
    spread = mean_estimate([1, 3, 5, 7])
    known = Estimate(value=0.0, stderr=0.0, ci=(0.0, 0.0), n=2, values=np.zeros(2))
    gap = generalisation_gap(spread, known)
    assert gap.ci == pytest.approx(spread.ci, rel=1e-12)
    # Two equal values do not tell theirs.
    assert all(map(math.isnan, generalisation_gap(spread, mean_estimate([0, 0])).ci))


def test_an_unknown_error_stays_unknown() -> None:
    gap = generalisation_gap(mean_estimate([1, 0]), mean_estimate([1]))
    assert gap.value == -0.5
    assert math.isnan(gap.stderr)
    assert all(math.isnan(end) for end in gap.ci)


def test_gaps_to_several_sets_and_their_growth() -> None:
    # Intervals of ± 1.96 errors of √(1/6), and √(1/3)
    inside = known(4, *[1.959964 * math.sqrt(1 / 6)] * 2)
    near, far = (known(value, *[1.959964 * math.sqrt(1 / 3)] * 2) for value in (3, 1))
    found = generalisation_gaps(inside, {"near": near, "far": far, "other": near}, shifts={"near": 1, "far": 2})
    assert [found.gaps[name].value for name in ("near", "far", "other")] == [1, 3, 1]
    assert found.gaps["far"].ci == generalisation_gap(inside, far).ci
    # Σ = [[1/2, 1/6], [1/6, 1/2]], Σ⁻¹ = 9/2 · [[1/2, −1/6], [−1/6, 1/2]], Σ⁻¹x = (3/4, 15/4), xᵀΣ⁻¹x = 33/4
    assert found.per_shift is not None
    assert found.per_shift.value == pytest.approx((0.75 * 1 + 3.75 * 3) / 8.25, rel=1e-6)
    assert found.per_shift.stderr == pytest.approx(math.sqrt(4 / 33), rel=1e-6)
    assert found.per_shift.ci[1] - found.per_shift.value == pytest.approx(1.959964 * math.sqrt(4 / 33), rel=1e-6)
    assert found.to_dict()["gaps"]["near"]["value"] == 1


def test_the_arms_of_the_growth_by_hand() -> None:
    # Errors as above, so b = (0.75 g_near + 3.75 g_far) / 8.25; the figure in distribution counts 4.5 / 8.25. Down go
    # its own arm down, and the arms up of the two that are subtracted; all arms sum up to 2 · 1.96 errors.
    inner, outer = (1.959964 * math.sqrt(variance) for variance in (1 / 6, 1 / 3))
    inside = known(4, 0.5 * inner, 1.5 * inner)
    near, far = known(3, 0.4 * outer, 1.6 * outer), known(1, outer, outer)
    slope = generalisation_gaps(inside, {"near": near, "far": far}, shifts={"near": 1, "far": 2}).per_shift
    assert slope is not None
    down = math.hypot(4.5 * 0.5 * inner, 0.75 * 1.6 * outer, 3.75 * outer) / 8.25
    up = math.hypot(4.5 * 1.5 * inner, 0.75 * 0.4 * outer, 3.75 * outer) / 8.25
    assert slope.ci == pytest.approx((slope.value - down, slope.value + up), rel=1e-6)


def test_the_interval_of_the_growth_covers_the_truth() -> None:
    generator, inside, shifts = np.random.default_rng(0), 0, {"a": 0.2, "b": 0.5, "c": 1.0}
    for _ in range(200):
        base = mean_estimate(generator.normal(1, 1, 100))
        others = {name: mean_estimate(generator.normal(1 - 0.7 * x, 2, 80)) for name, x in shifts.items()}
        slope = generalisation_gaps(base, others, shifts=shifts).per_shift
        assert slope is not None
        inside += slope.ci[0] <= 0.7 <= slope.ci[1]
    assert 183 <= inside <= 198


def test_growth_that_is_not_known() -> None:
    inside, other = mean_estimate([1, 0, 1]), mean_estimate([0, 0, 1])
    assert generalisation_gaps(inside, {"a": other}, shifts={"a": 1.0}).per_shift is None
    assert generalisation_gaps(inside, {"a": other}).to_dict()["per_shift"] is None
    unanimous = proportion_estimate([1.0] * 20)
    others = {"a": proportion_estimate([1.0] * 20), "b": proportion_estimate([0.0] * 20)}
    slope = generalisation_gaps(unanimous, others, shifts={"a": 0.5, "b": 1}).per_shift
    assert slope is not None and slope.ci[0] < 0.9 < slope.value == pytest.approx(1)
    sure = mean_estimate([1, 1, 1])
    slope = generalisation_gaps(sure, {"a": mean_estimate([0, 0]), "b": sure}, shifts={"a": 1, "b": 1}).per_shift
    assert slope is not None and slope.value == 0.5 and math.isnan(slope.stderr)
    with pytest.raises(DataError, match="There is no test set out of distribution"):
        generalisation_gaps(inside, {})
    for shifts in ({"b": 1.0}, {"a": 0.0}, {"a": math.nan}):
        with pytest.raises(ConfigError, match="give a number above 0 for a set that is there"):
            generalisation_gaps(inside, {"a": other}, shifts=shifts)


def test_word_shift_by_hand() -> None:
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): ½ log2 4/3 + ½ (½ log2 2/3 + ½ log2 2)
    expected = 0.5 * math.log2(4 / 3) + 0.25 * math.log2(2 / 3) + 0.25
    assert word_shift(["The the"], ["the cat"]) == pytest.approx(expected, rel=1e-12)
    assert word_shift(["the cat"], ["The the"]) == pytest.approx(expected, rel=1e-12)
    assert word_shift(["a b", "c"], ["c", "b a"]) == 0 and word_shift(["a"], ["b"]) == 1
    with pytest.raises(DataError, match="second holds no words"):
        word_shift(["a"], ["", " "])
