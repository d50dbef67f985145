"""Means and jackknife errors against hand arithmetic and explicit loops."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.estimate import (
    jackknife_blocks,
    jackknife_estimate,
    mean_estimate,
    proportion_estimate,
)

floats = st.floats(-100, 100)


def test_mean_by_hand() -> None:
    # mean 4, squares 9 + 1 + 1 + 9 = 20, s² = 20 / 3, stderr = √(20 / 3 / 4) = √(5 / 3), t with 3 degrees 3.182446
    estimate = mean_estimate([1, 3, 5, 7])
    assert estimate.value == 4
    assert estimate.stderr == pytest.approx(math.sqrt(5 / 3), rel=1e-12)
    assert estimate.ci == pytest.approx((4 - 3.182446 * math.sqrt(5 / 3), 4 + 3.182446 * math.sqrt(5 / 3)), abs=1e-5)
    assert estimate.n == 4
    assert estimate.values.tolist() == [1, 3, 5, 7]
    assert estimate.values.dtype == np.float64


def test_undefined_values_are_left_out() -> None:
    estimate = mean_estimate([math.nan, 2.0, 4.0, math.nan])
    assert (estimate.value, estimate.n, estimate.values.tolist()) == (3.0, 2, [2.0, 4.0])


def test_one_value_has_no_error() -> None:
    estimate = mean_estimate([0.5])
    assert estimate.value == 0.5
    assert math.isnan(estimate.stderr)
    assert all(math.isnan(end) for end in estimate.ci)
    assert estimate.to_dict() == {"value": 0.5, "stderr": None, "ci": [None, None], "n": 1}


@pytest.mark.parametrize("values", [[], [math.nan, math.nan]])
def test_nothing_defined(values: list[float]) -> None:
    with pytest.raises(DataError, match=rf"None of the {len(values)} values"):
        mean_estimate(values)


def test_infinity_is_named() -> None:
    with pytest.raises(DataError, match="row 1 is -inf"):
        mean_estimate([0.0, -math.inf])


def test_blocks_are_dealt_in_turn() -> None:
    assert jackknife_blocks(7, 3) == [[0, 3, 6], [1, 4], [2, 5]]
    assert jackknife_blocks(2, 20) == [[0], [1]]
    with pytest.raises(ConfigError, match="blocks is 1"):
        jackknife_blocks(5, 1)


@given(st.lists(floats, min_size=2, max_size=12))
def test_jackknife_of_a_mean_is_its_standard_error(values: list[float]) -> None:
    estimate = jackknife_estimate(statistics.fmean, values)
    assert estimate.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), rel=1e-6, abs=1e-6)
    assert estimate.values == pytest.approx(values, abs=1e-6)


@given(st.lists(floats, min_size=12, max_size=12), st.sampled_from([2, 3, 4, 6, 12]))
def test_equal_blocks_against_the_textbook_formula(values: list[float], blocks: int) -> None:
    without = []
    for block in range(blocks):
        kept = [value for index, value in enumerate(values) if index % blocks != block]
        without.append(statistics.median(kept))
    centre = statistics.fmean(without)
    variance = (blocks - 1) / blocks * sum((value - centre) ** 2 for value in without)
    estimate = jackknife_estimate(statistics.median, values, blocks=blocks)
    assert estimate.value == statistics.median(values)
    assert estimate.stderr == pytest.approx(math.sqrt(variance), rel=1e-6, abs=1e-6)
    assert estimate.n == 12
    assert estimate.values.shape == (blocks,)


def test_unequal_blocks_by_hand() -> None:
    # Units 1, 2, 6 in blocks {1, 6} and {2}: θ = 3, θ_1 = 2, θ_2 = 3.5, h = 3/2 and 3, τ = 3.5 and 2.
    # θ_J = 6 − (1/3) 2 − (2/3) 3.5 = 3, stderr² = ½ (0.25 / 0.5 + 1 / 2) = 0.5
    estimate = jackknife_estimate(statistics.fmean, [1.0, 2.0, 6.0], blocks=2)
    assert estimate.values == pytest.approx([3.5, 2.0], rel=1e-12)
    assert estimate.stderr == pytest.approx(math.sqrt(0.5), rel=1e-12)
    assert estimate.ci[1] == pytest.approx(3 + 12.7062 * math.sqrt(0.5), abs=1e-4)


def test_a_single_unit_has_no_error() -> None:
    estimate = jackknife_estimate(statistics.fmean, [2.0])
    assert (estimate.value, estimate.n) == (2.0, 1)
    assert math.isnan(estimate.stderr)


def test_undefined_statistics() -> None:
    with pytest.raises(DataError, match="no units"):
        jackknife_estimate(statistics.fmean, [])
    with pytest.raises(DataError, match="all 2 units is nan"):
        jackknife_estimate(lambda _: math.nan, [1.0, 2.0])
    # Without either unit the standard deviation is undefined, and so is its error.
    spread = jackknife_estimate(lambda x: statistics.stdev(x) if len(x) > 1 else math.nan, [1.0, 2.0])
    assert math.isnan(spread.stderr)


def test_shares_by_hand() -> None:
    # mean 0.625, deviations .375 .375 −.125 −.625, squares together .6875; Wilson of 5 of 5: 5 / (5 + z²)
    found = proportion_estimate([1, math.nan, 1, 0.5, 0])
    assert (found.value, found.n, found.values.tolist()) == (0.625, 4, [1, 1, 0.5, 0])
    assert found.stderr == pytest.approx(math.sqrt(0.6875 / 3 / 4), rel=1e-12)
    assert proportion_estimate([1.0] * 5).ci == pytest.approx((5 / (5 + 1.959964**2), 1), abs=1e-6)
    with pytest.raises(DataError, match=r"A value is 75.0; a score interval takes values from 0 to 1"):
        proportion_estimate([75.0])


def test_the_longer_tail_has_the_longer_arm() -> None:
    # 0 0 0 0 5: mean 1, s² = 20 / 4, s/√n = 1; deviations −1 (4 times), 4: γ = (60 / 5) / (20 / 5)^1.5 = 1.5
    # a = (1 + 6/5) 1.5 / √5, and g(T) = T + a T² / 3 + a² T³ / 27 + a / 6 is ± t at the ends.
    estimate = mean_estimate([0, 0, 0, 0, 5])
    a, t = 2.2 * 1.5 / math.sqrt(5), 2.776445
    upper = -(estimate.ci[1] - 1)
    assert upper + a * upper**2 / 3 + a**2 * upper**3 / 27 + a / 6 == pytest.approx(-t, abs=1e-5)
    assert estimate.ci[0] == pytest.approx(1 - t, abs=1e-5)
    mirrored = mean_estimate([0, 0, 0, 0, -5])
    assert mirrored.ci == pytest.approx((-estimate.ci[1], -estimate.ci[0]), rel=1e-12)


@given(st.lists(floats, min_size=2, max_size=30), st.floats(0.1, 10), st.floats(-50, 50))
def test_the_interval_of_a_mean_moves_with_the_values(values: list[float], scale: float, shift: float) -> None:
    found, moved = mean_estimate(values), mean_estimate([scale * value + shift for value in values])
    if any(map(math.isnan, (*found.ci, *moved.ci))):
        # Values that are equal but for rounding have none.
        assert np.ptp(values) <= 1e-11 * (max(map(abs, values)) + (1 + abs(shift)) / scale)
        return
    assert found.ci[0] <= found.value <= found.ci[1]
    size = 1e-6 * (1 + abs(shift) + scale * (found.ci[1] - found.ci[0] + max(map(abs, values))))
    assert moved.ci == pytest.approx([scale * end + shift for end in found.ci], abs=size)


@pytest.mark.parametrize("n", [10, 25, 100])
@pytest.mark.parametrize(
    ("name", "truth"), [("normal", 0.0), ("exponential", 1.0), ("many at a bound", 0.95), ("heavy tails", 0.0)]
)
def test_the_interval_of_a_mean_covers_the_truth(n: int, name: str, truth: float) -> None:
    generator, inside = np.random.default_rng(n), 0
    for _ in range(400):
        values = {
            "normal": lambda: generator.normal(size=n),
            "exponential": lambda: generator.exponential(size=n),
            "many at a bound": lambda: np.where(generator.random(n) < 0.9, 1, generator.random(n)),
            "heavy tails": lambda: generator.standard_t(3, size=n),
        }[name]()
        estimate = mean_estimate(values, bounds=(0, 1) if name == "many at a bound" else None)
        inside += estimate.ci[0] <= truth <= estimate.ci[1]
    # 93 % less two of the simulation's standard deviations
    assert inside >= 362


def test_bounds() -> None:
    assert mean_estimate([0.0, 1.0, 1.0], bounds=(0, 1)).ci[1] == 1 < mean_estimate([0.0, 1.0, 1.0]).ci[1]
    # Wilson's of 1 of 1 and of 8 of 8, n / (n + z²)
    assert mean_estimate([1.0], bounds=(0, 1)).ci == pytest.approx((0.206549, 1), abs=1e-6)
    assert mean_estimate([1.0] * 8, bounds=(0, 1)).ci == pytest.approx((0.675592, 1), abs=1e-6)
    # Equal but for a rounding
    assert mean_estimate([0.3, 0.1 + 0.2] * 4, bounds=(0, 1)).ci[1] > 0.5
    with pytest.raises(DataError, match=r"A value is 1.5"):
        mean_estimate([0.5, 1.5], bounds=(0, 1))


def test_equal_values_have_no_interval_without_bounds() -> None:
    for values in ([2.5] * 8, [0.3, 0.1 + 0.2] * 4, [0.0] * 3):
        estimates = [mean_estimate(values), jackknife_estimate(statistics.fmean, values)]
        # Statistics of numbers around 1 are off by a rounding of these, whatever is left.
        estimates.append(jackknife_estimate(lambda some: 1 - sum(some) / sum(some) + 1e-16, [0.1, 0.7, 0.4] * 4))
        for estimate in estimates:
            assert estimate.stderr == pytest.approx(0, abs=1e-12) and all(map(math.isnan, estimate.ci))
    # A rounding is no spread where what is bounded is much larger.
    assert mean_estimate([0.0, 2e-16, -1e-16], bounds=(0, 2)).ci[1] > 1
    assert mean_estimate([1e-9, 2e-9, 3e-9]).ci[1] > 3e-9


def test_the_interval_of_a_jackknifed_mean_is_that_of_the_mean() -> None:
    values = [0.0, 0.0, 0.1, 0.2, 0.0, 3.0, 0.4]
    jackknifed = jackknife_estimate(statistics.fmean, values)
    assert jackknifed.ci == pytest.approx(mean_estimate(values).ci, rel=1e-9)
    assert jackknifed.ci[1] - jackknifed.value > 1.5 * (jackknifed.value - jackknifed.ci[0])
