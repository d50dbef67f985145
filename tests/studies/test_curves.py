"""Curves, the front, and what free controls dominate."""

from __future__ import annotations

import numpy as np
import pytest

from genrlhf.errors import ConfigError, ShapeError
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.studies.curves import Point, draw_curves, pareto_front, reference_point, worst_difference
from genrlhf.studies.results import temperature_key
from genrlhf.types import Estimate


def bare(temperature: float | None, quality: float, diversity: float, half: float = 0.0) -> Point:
    """A point without values, whose intervals reach `half` to either side."""
    figures = [Estimate(x, half / 2, (x - half, x + half), 10, np.zeros(0)) for x in (quality, diversity)]
    return Point(temperature_key(temperature), *figures)


def measured(temperature: float, quality: np.ndarray, diversity: np.ndarray, seeds: tuple[str, ...] = ("0",)) -> Point:
    """A point with values."""
    tables = np.atleast_2d(quality), np.atleast_2d(diversity)
    figures = [mean_estimate(table.mean(axis=0)) for table in tables]
    return Point(temperature_key(temperature), *figures, *tables, seeds)


def test_front_with_ties() -> None:
    # The second and its double are equal; the next has their diversity and less quality, then the other way round.
    quality = [0.9, 0.5, 0.5, 0.4, 0.5, float("nan")]
    diversity = [0.1, 0.6, 0.6, 0.6, 0.5, 0.9]
    assert pareto_front(quality, diversity) == [True, True, True, False, False, False]
    assert pareto_front([], []) == []
    assert pareto_front([0.1], [0.1]) == [True]


def test_front_is_that_of_a_loop() -> None:
    generator = np.random.default_rng(0)
    q, d = generator.integers(5, size=(2, 40)) / 5
    expected = [
        not any((q[j] >= q[i] and d[j] >= d[i]) and (q[j] > q[i] or d[j] > d[i]) for j in range(40)) for i in range(40)
    ]
    assert pareto_front(q, d) == expected


def test_points_come_by_rising_temperature_with_the_front_of_all_methods() -> None:
    found = draw_curves(
        {"a": [bare(1.2, 0.4, 0.6), bare(0.5, 0.8, 0.2), bare(1.0, 0.5, 0.4)], "b": [bare(None, 0.5, 0.5)]}
    )
    assert [(p["temperature"], p["on_front"]) for p in found["a"]["points"]] == [
        ("0.5", True),
        ("1.0", False),
        ("1.2", True),
    ]
    assert [(p["temperature"], p["on_front"]) for p in found["b"]["points"]] == [("given", True)]
    assert found["a"]["at_reference_quality"] is found["a"]["why_not"] is None


@pytest.mark.parametrize(
    ("temperatures", "expected"),
    [([0.5, 1.0, 1.2], "1.0"), ([0.5, 1.5], "0.5"), ([0.2, 0.7], "0.7"), ([None], "given")],
)
def test_the_reference_is_at_temperature_1_or_near_it(temperatures: list[float | None], expected: str) -> None:
    points = [bare(t, 0.5, 0.5) for t in temperatures]
    found = reference_point(points)
    assert found is not None and found.temperature == expected
    assert reference_point([]) is None


def test_dominated_everywhere_or_somewhere() -> None:
    methods = {
        "sft": [bare(0.5, 0.5, 0.2), bare(1.0, 0.4, 0.6)],
        "min_p": [bare(1.0, 0.6, 0.5)],
        "ppo": [bare(0.5, 0.45, 0.1), bare(1.0, 0.3, 0.3)],
        "dpo": [bare(0.5, 0.7, 0.1), bare(1.0, 0.3, 0.3)],
    }
    found = draw_curves(methods, reference="sft", free=["min_p"])
    assert found["ppo"]["dominated_by"] == ["sft", "min_p"]
    assert found["dpo"]["dominated_by"] == []
    assert [point["dominated_by"] for point in found["dpo"]["points"]] == [[], ["sft", "min_p"]]
    # The reference is a method too, and nothing dominates itself.
    assert [point["dominated_by"] for point in found["sft"]["points"]] == [["min_p"], []]
    assert found["min_p"]["dominated_by"] == []


def test_differences_within_the_error_dominate_nothing() -> None:
    for half, expected in ((0.05, ["c"]), (0.15, [])):
        found = draw_curves({"m": [bare(1.0, 0.5, 0.5, half)], "c": [bare(1.0, 0.6, 0.6, half)]}, free=["c"])
        # The interval of a difference of independent figures: 0.1 ∓ √2 · half.
        assert found["m"]["dominated_by"] == expected


def test_values_are_paired_by_input() -> None:
    generator = np.random.default_rng(0)
    easy = generator.normal(size=40)
    worse = measured(1.0, easy, easy)
    better = measured(1.0, easy + 0.1 + 0.01 * generator.normal(size=40), easy + 0.1 + 0.01 * generator.normal(size=40))
    assert draw_curves({"m": [worse], "c": [better]}, free=["c"])["m"]["dominated_by"] == ["c"]
    # Without the pairs, inputs differ far more than methods.
    apart = Point("1.0", better.quality, better.diversity)
    assert draw_curves({"m": [worse], "c": [apart]}, free=["c"])["m"]["dominated_by"] == []
    # Equal outputs are not worse and not better: nothing is known, and nothing said.
    assert draw_curves({"m": [worse], "c": [worse]}, free=["c"])["m"]["dominated_by"] == []


def test_pairs_by_seed() -> None:
    generator = np.random.default_rng(0)
    seeds = np.array([[-1.0], [0.0], [1.0]]) + 0.001 * generator.normal(size=(3, 20))
    better = seeds + 0.5 + 0.001 * generator.normal(size=(3, 20))
    low = measured(1.0, seeds, seeds, ("0", "1", "2"))
    for rows, names in (
        ([0, 1, 2], ("0", "1", "2")),
        # Found by name, in any order, and of one of them alone; other seeds are averaged over.
        ([2, 1, 0], ("2", "1", "0")),
        ([0], ("0",)),
        ([0, 1, 2], ("a", "b", "c")),
    ):
        high = measured(1.0, better[rows], better[rows], names)
        assert worst_difference(high, low, "quality") == pytest.approx(0.5, abs=0.005)
    # Without the pairs, seeds differ far more than methods.
    apart = Point("1.0", low.quality, low.diversity)
    assert worst_difference(measured(1.0, better, better, ("0", "1", "2")), apart, "quality") < 0.5


def test_shares_have_the_score_interval_of_a_difference() -> None:
    won, lost = np.ones((1, 10)), np.zeros((1, 10))
    points = [Point("1.0", proportion_estimate(won), mean_estimate([0.0, 1.0]), values) for values in (won, lost)]
    # All ten differences are 1: [1 − 3.84 · 2 / (10 + 3.84), 1] between −1 and 1.
    assert worst_difference(points[0], points[1], "quality", share=True) == pytest.approx(
        1 - 2 * 3.8415 / 13.8415, abs=1e-4
    )


def test_a_figure_without_common_inputs_is_not_known() -> None:
    values = np.array([[0.5, np.nan]]), np.array([[np.nan, 0.5]])
    points = [Point("1.0", mean_estimate(one), mean_estimate(one), one, one) for one in values]
    assert np.isnan(worst_difference(points[0], points[1], "quality"))


def test_wrong_names_and_shapes() -> None:
    with pytest.raises(ConfigError, match=r"'min_p' is none of the methods \(a\)"):
        draw_curves({"a": []}, free=["min_p"])
    with pytest.raises(ConfigError, match="'b' is none"):
        draw_curves({"a": []}, reference="b")
    with pytest.raises(ShapeError, match=r"qualities has the shape \(2, 5\); give \(seeds, inputs\) of the 1 seeds"):
        measured(1.0, np.zeros((2, 5)), np.zeros((2, 5)))


def test_a_method_without_points() -> None:
    found = draw_curves({"a": [], "b": [bare(1.0, 0.5, 0.5)]}, reference="b", free=["b"])
    assert found["a"] == {
        "points": [],
        "at_reference_quality": None,
        "why_not": "quality or diversity was not measured.",
        "dominated_by": [],
    }
