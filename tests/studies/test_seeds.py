"""One figure of several seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from genrlhf.errors import DataError, ShapeError
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.metrics.preference import generalisation_gap
from genrlhf.studies.seeds import (
    gap_over_seeds,
    mean_over_seeds,
    pooled_over_seeds,
    seeds_note,
    share_over_seeds,
    variance_components,
)
from genrlhf.types import Estimate

NAN = float("nan")


def test_components_by_hand() -> None:
    # Rows 1, 3; columns 1, 2, 3; rest ±½ in two cells of each row, so that all margins stay.
    rest = np.array([[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0]])
    values = np.array([[1.0], [3.0]]) + np.array([1.0, 2.0, 3.0]) + rest
    found = variance_components(values)
    residual = 4 * 0.25 / (1 * 2)
    assert found.residual == pytest.approx(residual)
    assert found.seeds == pytest.approx(2.0 - residual / 3)
    assert found.inputs == pytest.approx(1.0 - residual / 2)


def test_components_are_not_below_zero_and_nan_without_two() -> None:
    found = variance_components([[1.0, 0.0], [0.0, 1.0]])
    assert (found.seeds, found.inputs, found.residual) == (0.0, 0.0, 1.0)
    one = variance_components([[1.0, 0.0]])
    assert math.isnan(one.seeds) and math.isnan(one.residual)
    assert one.inputs == 0.5
    assert variance_components([[1.0], [3.0]]).seeds == 2.0


def test_one_seed_is_the_inputs_interval() -> None:
    values = [0.1, 0.4, 0.2, 0.9, NAN]
    for found, expected in (
        (mean_over_seeds([values]), mean_estimate(values)),
        (mean_over_seeds([values], bounds=(0, 1)), mean_estimate(values, bounds=(0, 1))),
        (share_over_seeds([[1.0, 1.0, 0.0]]), proportion_estimate([1.0, 1.0, 0.0])),
    ):
        assert found == expected
        np.testing.assert_array_equal(found.values, expected.values)
    pooled = Estimate(0.5, 0.1, (0.2, 0.6), 7, np.zeros(3))
    assert pooled_over_seeds([pooled]) == pooled


def test_equal_seeds_add_nothing() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    found, expected = mean_over_seeds([values] * 3), mean_estimate(values)
    assert (*found.ci, found.stderr) == pytest.approx((*expected.ci, expected.stderr))


def test_seeds_alone_are_students_interval_of_the_seeds() -> None:
    shifts = np.array([0.0, 0.5, 1.5])
    found = mean_over_seeds(shifts[:, None] + 1e-6 * np.arange(4))
    low, high = stats.t.interval(0.95, 2, loc=shifts.mean(), scale=stats.sem(shifts))
    assert found.ci == pytest.approx((low, high), abs=1e-4)
    assert found.stderr == pytest.approx(stats.sem(shifts), abs=1e-6)


def test_both_by_hand() -> None:
    rest = np.array([[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0]])
    values = np.array([[1.0], [3.0]]) + np.array([1.0, 2.0, 3.0]) + rest
    found = mean_over_seeds(values)
    seeds = (2.0 - 0.5 / 3) / 2
    assert found.value == 4.0
    assert found.stderr == pytest.approx(math.sqrt(1 / 3 + seeds))
    arm = math.hypot(stats.t.ppf(0.975, 2) * math.sqrt(1 / 3), stats.t.ppf(0.975, 1) * math.sqrt(seeds))
    assert found.ci == pytest.approx((4 - arm, 4 + arm))
    assert (found.n, found.values.tolist()) == (3, [3.0, 4.0, 5.0])


def test_an_input_that_a_seed_lacks_is_left_out() -> None:
    values = [[0.1, NAN, 0.3, 0.5], [0.2, 9.0, 0.1, 0.4]]
    assert mean_over_seeds(values) == mean_over_seeds([[0.1, 0.3, 0.5], [0.2, 0.1, 0.4]])


def test_shares_at_their_bounds_keep_a_width_and_stay_inside() -> None:
    assert share_over_seeds([[1.0] * 5] * 3).ci == proportion_estimate([1.0] * 5).ci
    assert share_over_seeds([[0.0] * 9] * 2).ci == proportion_estimate([0.0] * 9).ci
    apart = share_over_seeds([[1.0] * 10, [0.0] * 10])
    assert (apart.value, apart.ci) == (0.5, (0.0, 1.0))
    # differences of shares
    assert share_over_seeds([[-1.0] * 4] * 2, bounds=(-1, 1)).ci[0] == -1.0


def test_a_gap_is_taken_within_seeds() -> None:
    generator = np.random.default_rng(0)
    inside, outside = (generator.random(12) < 0.5).astype(float), (generator.random(30) < 0.5).astype(float)
    same = gap_over_seeds([inside] * 2, [outside] * 2)
    assert same == generalisation_gap(proportion_estimate(inside), proportion_estimate(outside))
    assert (same.n, same.values.size) == (42, 0)
    # A seed that is better by as much on both sets has the same gap.
    shift = np.array([[0.0], [0.3]])
    moved = gap_over_seeds(inside / 2 + shift, outside / 2 + shift, share=False)
    still = gap_over_seeds(np.tile(inside / 2 + 0.15, (2, 1)), np.tile(outside / 2 + 0.15, (2, 1)), share=False)
    assert moved.ci == pytest.approx(still.ci)
    with pytest.raises(ShapeError, match="2 seeds in distribution, and 1 out of it"):
        gap_over_seeds([inside] * 2, [outside])


def test_what_inputs_make_of_a_gap_is_no_error_of_seeds() -> None:
    rest = np.array([[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0]])
    inside, outside = np.array([[1.0], [3.0]]) + rest, np.array([[0.0], [0.5]]) + rest
    found = gap_over_seeds(inside, outside, share=False)
    # Gaps of 1 and 2.5; MS_e is ½ in either table, of three inputs each.
    assert found.stderr**2 == pytest.approx((1.125 - 2 * 0.5 / 3) / 2)


def test_pooled_by_hand() -> None:
    first = Estimate(0.4, 0.1, (0.2, 0.5), 8, np.zeros(4))
    second = Estimate(0.6, 0.2, (0.3, 1.0), 9, np.zeros(4))
    found = pooled_over_seeds([first, second])
    arm = stats.t.ppf(0.975, 1) * math.sqrt(0.02 / 2)
    assert found.value == pytest.approx(0.5)
    assert found.ci == pytest.approx((0.5 - math.hypot(0.25, arm), 0.5 + math.hypot(0.25, arm)))
    assert found.stderr == pytest.approx(math.hypot(0.15, math.sqrt(0.01)))
    assert (found.n, found.values.size) == (8, 0)
    assert pooled_over_seeds([first, second], bounds=(0, 1)).ci == (0.0, 1.0)
    # An interval that is not known stays unknown.
    assert all(map(math.isnan, pooled_over_seeds([first, Estimate(0.6, NAN, (NAN, NAN), 9, np.zeros(0))]).ci))


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([], ShapeError, r"shape \(0,\)"),
        ([0.5, 0.5], ShapeError, r"shape \(2,\); give \(seeds, inputs\)"),
        ([[0.5], [0.5, 0.1]], ShapeError, "other numbers of inputs"),
        ([[NAN, 0.5], [0.5, NAN]], DataError, "None of the 2 inputs has a value for every seed"),
        ([[math.inf, 0.5]], DataError, "inf"),
    ],
)
def test_what_is_no_table(values: list[list[float]], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        mean_over_seeds(values)


def test_no_seed_at_all() -> None:
    with pytest.raises(DataError, match="no seeds"):
        pooled_over_seeds([])


def test_coverage_where_seeds_matter_and_where_they_do_not() -> None:
    generator = np.random.default_rng(1)
    for seeds_sd in (0.0, 1.0):
        inside = 0
        for _ in range(400):
            table = (
                seeds_sd * generator.normal(size=(5, 1)) + generator.normal(size=30) + generator.normal(size=(5, 30))
            )
            low, high = mean_over_seeds(table).ci
            inside += low <= 0 <= high
        # Two standard errors of 400 tries around what 200,000 tries give, 0.955 to 0.96.
        assert 0.93 <= inside / 400 <= 0.985
        if seeds_sd:
            assert sum(_covered(generator, seeds_sd) for _ in range(400)) < 0.75 * 400


def _covered(generator: np.random.Generator, seeds_sd: float) -> bool:
    """Say whether the interval of inputs alone contains the truth."""
    table = seeds_sd * generator.normal(size=(5, 1)) + generator.normal(size=30) + generator.normal(size=(5, 30))
    low, high = mean_estimate(table.mean(axis=0)).ci
    return low <= 0 <= high


def test_notes() -> None:
    assert "that seed only" in str(seeds_note(1))
    assert "80 to 92 %" in str(seeds_note(2))
    assert seeds_note(3) is None
