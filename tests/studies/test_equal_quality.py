"""Diversity at one quality, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from genrlhf.metrics.estimate import mean_estimate
from genrlhf.studies.curves import Point
from genrlhf.studies.equal_quality import crossing, diversity_at_quality
from genrlhf.studies.seeds import mean_over_seeds
from genrlhf.types import Estimate
from tests.studies.test_curves import bare, measured

GENERATOR = np.random.default_rng(3)


def at(points: list[tuple[float, float, float]], level: float) -> float | None:
    found, _ = diversity_at_quality([bare(*point) for point in points], bare(1.0, level, 0.0))
    return None if found is None else found.value


def test_interpolated_by_hand() -> None:
    falling = [(0.5, 0.8, 0.1), (0.7, 0.6, 0.3), (1.0, 0.2, 0.5)]
    # Between 0.7 and 1: a quarter of the way down in quality, so a quarter of the way up in diversity.
    assert at(falling, 0.5) == pytest.approx(0.35)
    # At a point itself, at both ends, and the same rising.
    assert (at(falling, 0.6), at(falling, 0.8), at(falling, 0.2)) == (0.3, 0.1, 0.5)
    assert at(falling[::-1], 0.5) == pytest.approx(0.35)


def test_never_continued() -> None:
    points = [bare(0.5, 0.8, 0.1), bare(1.0, 0.6, 0.3)]
    found, why = diversity_at_quality(points, bare(1.0, 0.5, 0.4), name="sft")
    assert found is None
    assert why == "its quality is above that of sft (0.5) at every temperature sampled (lowest 0.6 at 1.0)."
    found, why = diversity_at_quality(points, bare(1.0, 0.9, 0.4), name="sft")
    assert found is None
    assert why == "its quality is below that of sft (0.9) at every temperature sampled (highest 0.8 at 0.5)."


def test_a_level_crossed_twice_has_the_highest_diversity() -> None:
    # Quality rises and falls: 0.5 is met at diversities 0.15 and 0.35, and once more on a piece of one quality.
    assert at([(0.5, 0.4, 0.1), (0.7, 0.6, 0.2), (1.0, 0.4, 0.5)], 0.5) == pytest.approx(0.35)
    assert at([(0.5, 0.5, 0.7), (0.7, 0.5, 0.2), (1.0, 0.4, 0.5)], 0.5) == 0.7
    assert crossing(np.array([0.5]), np.array([0.3]), 0.5) == (0.3, 0)
    assert math.isnan(crossing(np.array([0.5]), np.array([0.3]), 0.4)[0])


def test_what_was_not_measured() -> None:
    nan = Point("1.0", Estimate(math.nan, math.nan, (math.nan, math.nan), 0, np.zeros(0)), mean_estimate([0.5]))
    assert diversity_at_quality([nan], bare(1.0, 0.5, 0.5)) == (None, "quality or diversity was not measured.")
    assert diversity_at_quality([], bare(1.0, 0.5, 0.5))[0] is None
    assert diversity_at_quality([bare(1.0, 0.5, 0.5)], nan)[1] == "quality or diversity was not measured."
    assert diversity_at_quality([bare(1.0, 0.5, 0.5)], None) == (None, None)


def test_without_values_there_is_no_interval() -> None:
    found, why = diversity_at_quality([bare(0.5, 0.8, 0.1), bare(1.0, 0.2, 0.3)], bare(1.0, 0.5, 0.4))
    assert found is not None and found.value == pytest.approx(0.2)
    assert all(map(math.isnan, (found.stderr, *found.ci)))
    assert why == "there is no interval: these figures have no values of the same inputs."


def population(n: int, seeds: int = 1, seeds_sd: float = 0.0) -> tuple[list[Point], Point]:
    """Two temperatures with qualities 1 and 0, diversities 0 and 1, and a target of 0.4, so that d* is 0.6."""
    names = tuple(map(str, range(seeds)))
    inputs, of_seeds = GENERATOR.normal(size=n), seeds_sd * GENERATOR.normal(size=(seeds, 1))

    def values(mean: float, sd: float, shift: float = 0.0) -> np.ndarray:
        rest: np.ndarray = sd * (inputs + GENERATOR.normal(size=(seeds, n))) + shift * of_seeds + mean
        return rest

    points = [
        measured(0.5, values(1.0, 0.3), values(0.0, 0.2, 1.0), names),
        measured(1.0, values(0.0, 0.3), values(1.0, 0.2, 1.0), names),
    ]
    return points, measured(1.0, values(0.4, 0.3), values(0.5, 0.2), names)


def linear_error(points: list[Point], target: Point) -> float:
    """Return the standard error of d* by the delta method, from the values of one seed."""
    q0, q1, d0, d1, level = (
        np.asarray(table)[0]
        for table in (
            points[0].qualities,
            points[1].qualities,
            points[0].diversities,
            points[1].diversities,
            target.qualities,
        )
    )
    along = (level.mean() - q0.mean()) / (q1.mean() - q0.mean())
    slope = (d1.mean() - d0.mean()) / (q1.mean() - q0.mean())
    each = (1 - along) * d0 + along * d1 + slope * (level - (1 - along) * q0 - along * q1)
    return float(stats.sem(each))


def test_the_bootstrap_is_the_delta_method_where_that_holds() -> None:
    points, target = population(400)
    found, why = diversity_at_quality(points, target)
    assert why is None and found is not None
    error = linear_error(points, target)
    assert found.stderr == pytest.approx(error, rel=0.06)
    half = stats.t.ppf(0.975, 399) * error
    assert found.ci == pytest.approx((found.value - half, found.value + half), abs=0.12 * half)
    assert found.n == 400
    assert diversity_at_quality(points, target) == (found, None)
    assert diversity_at_quality(points, target, seed=1) != (found, None)


def test_inputs_that_are_easy_for_both_are_no_error() -> None:
    n = 50
    easy = 5 * GENERATOR.normal(size=n)
    noise = 0.01 * GENERATOR.normal(size=(5, n))
    points = [measured(0.5, easy + 1 + noise[0], noise[1]), measured(1.0, easy + noise[2], 1 + noise[3])]
    found, _ = diversity_at_quality(points, measured(1.0, easy + 0.5 + noise[4], noise[1]))
    assert found is not None
    assert found.value == pytest.approx(0.5, abs=0.02)
    assert found.stderr < 0.01


def test_diversity_of_fewer_inputs_than_quality() -> None:
    points, target = population(60)
    for point in points:
        assert point.diversities is not None
        point.diversities[:, 20:] = np.nan
    points = [measured(float(p.temperature), p.qualities, p.diversities) for p in points]  # type: ignore[arg-type]
    found, why = diversity_at_quality(points, target)
    assert why is None and found is not None
    assert found.n == 20
    full, _ = diversity_at_quality(*population(60))
    assert full is not None and found.stderr > full.stderr


def test_seeds_add_what_they_do_to_the_value() -> None:
    # All of d* moves with the seed, by ±, so that the seeds' arm is Student's of the seeds' own d*.
    points, target = population(400, seeds=4, seeds_sd=1.0)
    found, why = diversity_at_quality(points, target)
    assert why is None and found is not None
    means = [np.asarray(point.diversities).mean(axis=1) for point in points]
    of_seeds = 0.4 * means[0] + 0.6 * means[1]
    low, high = stats.t.interval(0.95, 3, loc=of_seeds.mean(), scale=stats.sem(of_seeds))
    assert found.ci[1] - found.ci[0] == pytest.approx(high - low, rel=0.05)
    # Seeds of other names are those of another training: their errors add up.
    stranger = Point(
        target.temperature, target.quality, target.diversity, target.qualities, target.diversities, tuple("abcd")
    )
    apart, _ = diversity_at_quality(points, stranger)
    assert apart is not None and apart.ci[1] - apart.ci[0] == pytest.approx(high - low, rel=0.1)


def test_seeds_that_move_quality_move_the_value_along_the_slope() -> None:
    n, names = 300, tuple("012345")
    noise = 0.01 * GENERATOR.normal(size=(5, 6, n))
    shift = 0.1 * np.arange(-2.5, 3.0)[:, None]
    # Quality 1 to 0, diversity 0 to 2, so that a seed that is better by 0.1 everywhere has 0.2 less at any level.
    points = [
        measured(0.5, 1 + shift + noise[0], noise[1], names),
        measured(1.0, shift + noise[2], 2 + noise[3], names),
    ]
    found, _ = diversity_at_quality(points, measured(1.0, 0.75 + noise[4], noise[1], names))
    assert found is not None and found.value == pytest.approx(0.5, abs=0.01)
    half = stats.t.ppf(0.975, 5) * stats.sem(2 * shift[:, 0])
    assert found.ci == pytest.approx((found.value - half, found.value + half), rel=0.02)


def test_what_inputs_make_seeds_differ_by_is_no_error_of_seeds() -> None:
    names = ("0", "1", "2")
    diversities = np.full((3, 60), np.nan)
    diversities[:, :20] = GENERATOR.normal(size=20) + GENERATOR.normal(size=(3, 20)) + np.array([[-1.0], [0.0], [1.0]])
    qualities = GENERATOR.normal(size=(3, 60))
    tables = {"all": (qualities, diversities, names), "one": (qualities.mean(0), diversities.mean(0), ("0",))}
    errors = {}
    for name, (quality, diversity, seeds) in tables.items():
        estimates = mean_estimate(np.atleast_2d(quality).mean(0)), mean_estimate(np.atleast_2d(diversity).mean(0))
        point = Point("1.0", *estimates, np.atleast_2d(quality), np.atleast_2d(diversity), seeds)
        found, _ = diversity_at_quality([point], point)
        assert found is not None
        errors[name] = found.stderr**2
    # Its own quality is the level, so that its diversity is the value, and seeds add what they add to a mean.
    whole, inputs = mean_over_seeds(diversities), mean_estimate(diversities.mean(0))
    assert errors["all"] - errors["one"] == pytest.approx(whole.stderr**2 - inputs.stderr**2, rel=0.03)


def test_a_level_at_the_end_of_the_curve_has_no_interval() -> None:
    noise = GENERATOR.normal(size=(3, 30))
    noise -= noise.mean(axis=1, keepdims=True)
    points = [measured(0.5, 1 + noise[0], noise[1]), measured(1.0, noise[0], 1 + noise[1])]
    # The lowest quality is 0; half of the resamples have a level below it.
    found, why = diversity_at_quality(points, measured(1.0, 0.001 + noise[2], noise[1]), name="sft")
    assert found is not None and found.value == pytest.approx(0.999)
    assert all(map(math.isnan, found.ci))
    assert why is not None
    assert 40 < float(why.split("in ")[1].split(" %")[0]) < 60
    assert "of resamples the quality of sft lies outside of its own" in why


def test_the_reference_has_its_own_diversity() -> None:
    points, _ = population(40)
    for target in points:
        found, why = diversity_at_quality(points, target)
        assert why is None and found is not None
        assert found.value == target.diversity.value
        assert found.stderr == pytest.approx(target.diversity.stderr, rel=0.1)
    # Alone, too, at the end of no curve.
    found, why = diversity_at_quality(points[:1], points[0])
    assert why is None and found is not None and found.value == points[0].diversity.value


def test_one_temperature_that_happens_to_have_the_quality() -> None:
    points, target = population(40)
    twin = measured(1.0, np.asarray(target.qualities), np.asarray(points[0].diversities))
    found, why = diversity_at_quality([twin], target)
    assert found is not None and found.value == twin.diversity.value and math.isnan(found.ci[0])
    assert why == "there is no interval: it has one temperature only."


def test_resamples_that_are_all_alike_are_no_certainty() -> None:
    quality = np.linspace(0.0, 1.0, 12)
    points = [measured(0.5, quality, np.ones(12)), measured(1.0, quality - 0.2, np.ones(12))]
    found, why = diversity_at_quality(points, points[0])
    assert found is not None and found.value == 1.0
    assert all(map(math.isnan, (found.stderr, *found.ci)))
    assert why is not None and "resamples are all alike" in why


def test_coverage() -> None:
    inside = 0
    for _ in range(150):
        found, why = diversity_at_quality(*population(40))
        assert found is not None and why is None
        inside += found.ci[0] <= 0.6 <= found.ci[1]
    assert 0.9 <= inside / 150 <= 0.99
