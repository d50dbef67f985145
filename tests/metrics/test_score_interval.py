"""Score intervals against published tables, closed forms and a plain search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.score_interval import difference_interval, score_interval, score_statistic

Z = 1.959963984540054


def shares(wins: int, n: int) -> list[float]:
    return [1.0] * wins + [0.0] * (n - wins)


@pytest.mark.parametrize(
    ("wins", "n", "low", "high"),
    # Wilson's interval as printed in Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_of_wins_and_losses_it_is_wilsons(wins: int, n: int, low: float, high: float) -> None:
    assert score_interval(shares(wins, n)) == pytest.approx((low, high), abs=5.1e-5)


@given(st.integers(1, 60), st.data())
def test_wilsons_closed_form(n: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, n))
    p, a = wins / n, Z * Z / n
    centre, half = (p + a / 2) / (1 + a), math.sqrt(a * p * (1 - p) + a * a / 4) / (1 + a)
    assert score_interval(shares(wins, n)) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_paired_shares_as_published() -> None:
    # Fagerland, Lydersen & Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions",
    # table IV: of 21 pairs 1 and 7 are discordant; Tango's asymptotic score interval
    assert score_interval([0] * 13 + [1] + [-1] * 7, -1, 1) == pytest.approx((-0.517, -0.026), abs=5.1e-4)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40))
def test_with_ties_the_ends_solve_tangos_equation(wins: int, losses: int, ties: int) -> None:
    n = wins + losses + ties
    if n == 0:
        return
    values = [1.0] * wins + [0.5] * ties + [0.0] * losses
    for end in score_interval(values):
        if end in (0.0, 1.0):
            continue
        # Tango 1998, equations 9 to 12, for the difference δ = 2p − 1 of the chances of a win and of a loss
        delta = 2 * end - 1
        b = -wins - losses + (2 * n - wins + losses) * delta
        c = -losses * delta * (1 - delta)
        q = (math.sqrt(max(b * b - 8 * n * c, 0)) - b) / (4 * n)
        squared = (wins - losses - n * delta) ** 2 / (n * (2 * q + delta * (1 - delta)))
        assert squared == pytest.approx(Z * Z, rel=1e-5)


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=12))
def test_by_degree_the_ends_are_where_the_statistic_is_z(values: list[float]) -> None:
    """The most likely distribution by a search for λ in an explicit loop, the end by halving."""

    def squared(mu: float) -> float:
        mean = sum(values) / len(values)
        if mu > mean:
            return above(mu, values, mean)
        return above(1 - mu, [1 - value for value in values], 1 - mean)

    def above(mu: float, given: list[float], mean: float) -> float:
        first, last = -1 / (1 - mu), 0.0
        if sum(1 / (1 + first * (value - mu)) for value in given) <= len(given):
            return len(given) * -first * (mu - mean)
        for _ in range(80):
            middle = (first + last) / 2
            # The derivative of Σ log(1 + λ (v − μ)) falls in λ, and is 0 at the solution.
            if sum((value - mu) / (1 + middle * (value - mu)) for value in given) > 0:
                first = middle
            else:
                last = middle
        return len(given) * -first * (mu - mean)

    low, high = score_interval(values)
    for end, inside in ((low, 1e-6), (high, -1e-6)):
        assert squared(end + inside) <= Z * Z * (1 + 1e-3)
        assert squared(end - inside) >= Z * Z * (1 - 1e-3)


@given(st.lists(st.integers(0, 9), min_size=3, max_size=3), st.integers(1, 9))
def test_what_the_statistic_leaves_out_the_interval_leaves_out(counts: list[int], tenths: int) -> None:
    if not sum(counts):
        return
    mean = tenths / 10
    (squared,) = score_statistic(np.array([0.0, 0.5, 1.0]), np.array([counts], dtype=float), mean)
    low, high = score_interval(np.repeat([0.0, 0.5, 1.0], counts))
    if min(abs(low - mean), abs(high - mean)) > 1e-6:
        assert (squared <= Z * Z) == (low <= mean <= high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_other_way_round_and_in_other_units(values: list[float]) -> None:
    low, high = score_interval(values)
    mean = sum(values) / len(values)
    assert 0 <= low <= mean + 1e-12 and mean - 1e-12 <= high <= 1 and high - low > 1.5 / (len(values) + 4)
    assert score_interval([1 - value for value in values]) == pytest.approx((1 - high, 1 - low), abs=1e-7)
    scaled = score_interval([-3 + 5 * value for value in values], -3, 2)
    assert scaled == pytest.approx((-3 + 5 * low, -3 + 5 * high), abs=1e-6)


def test_unanimous_values_have_a_width() -> None:
    # n / (n + z²) of n wins; of n ties the distance from 0.5 is half that of −1 + … : z² / (2 (n + z²))
    assert score_interval([1.0] * 5) == pytest.approx((5 / (5 + Z * Z), 1.0), abs=1e-12)
    half = Z * Z / (2 * (10 + Z * Z))
    assert score_interval([0.5] * 10) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)
    assert score_interval([0.0]) == pytest.approx((0.0, Z * Z / (1 + Z * Z)), abs=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 1e-300, 1e-17, 1 / 3, 1 - 1e-16, 1.0])
def test_at_the_bounds_nothing_is_divided_by_zero(value: float) -> None:
    for values in ([value] * 7, [value] * 7 + [1.0], [value] * 7 + [0.0]):
        low, high = score_interval(values)
        assert 0 <= low < high <= 1


def test_what_it_does_not_take() -> None:
    for values in ([1.5], [-0.1, 0.5], [math.nan]):
        with pytest.raises(DataError, match="a score interval takes values from 0 to 1"):
            score_interval(values)
    with pytest.raises(DataError, match="There are no values"):
        score_interval([])
    with pytest.raises(ConfigError, match="the first must be below the second"):
        score_interval([0.5], 1, 1)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # Newcombe 1998, "Interval Estimation for the Difference between Independent Proportions", table II, method 10
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_differences_as_published(first: tuple[int, int], second: tuple[int, int], low: float, high: float) -> None:
    sides = [(wins / n, score_interval(shares(wins, n))) for wins, n in (first, second)]
    assert difference_interval(*sides[0], *sides[1]) == pytest.approx((low, high), abs=5.1e-5)
    assert difference_interval(*sides[1], *sides[0]) == pytest.approx((-high, -low), abs=5.1e-5)


def test_an_unknown_end_leaves_its_side_unknown() -> None:
    low, high = difference_interval(0.5, (math.nan, 0.7), 0.4, (0.2, 0.6))
    assert math.isnan(low) and high == pytest.approx(0.1 + math.hypot(0.2, 0.2))
