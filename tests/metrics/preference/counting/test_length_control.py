"""Length-controlled win rates on judgements with a known taste for length."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.preference import length_controlled
from genrlhf.metrics.preference.counting.length_control import _firth


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


def judged(seed: int, theta: float, phi: float, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Draw judgements of a model whose outputs are longer than the baseline's by half their deviation."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(100, 1000, size=(n, 2))
    lengths[:, 0] += 150
    differences = lengths[:, 0] - lengths[:, 1]
    return (generator.random(n) < sigmoid(theta + phi * np.tanh(differences / differences.std()))).astype(
        float
    ), lengths


def test_against_a_general_optimiser() -> None:
    wins, lengths = judged(0, 0.4, 1.0)
    wins[:40] = 0.5
    d = lengths[:, 0] - lengths[:, 1]
    x = np.tanh(d / d.std())

    def loss(weights: np.ndarray) -> float:
        p = sigmoid(weights[0] + weights[1] * x)
        return float(-(wins * np.log(p) + (1 - wins) * np.log(1 - p)).sum() + 0.5e-3 * (weights**2).sum())

    best = minimize(loss, np.zeros(2), tol=1e-12)
    found = length_controlled(wins, lengths)
    assert found.value == pytest.approx(float(sigmoid(best.x[0])), abs=1e-5)
    assert found.n == 400


def test_the_truth_lies_in_the_interval() -> None:
    inside = 0
    for seed in range(500):
        theta = (seed % 5 - 2) / 2
        wins, lengths = judged(seed, theta, 1.5)
        low, high = length_controlled(wins, lengths).ci
        inside += low <= sigmoid(theta) <= high
    # 475 and three of the simulation's standard deviations
    assert 460 <= inside <= 490


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_few_and_one_sided_judgements_and_ties_are_covered_too(share: float) -> None:
    truth, inside = float(sigmoid(2.5)), 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        lengths = generator.integers(100, 1000, size=(12, 2))
        ties = generator.random(12) < 2 * (1 - truth) * share
        # Ties take as much from wins as from losses, so that the mean preference stays the truth.
        wins = generator.random(12) < (truth - (1 - truth) * share) / (1 - 2 * (1 - truth) * share)
        low, high = length_controlled(np.where(ties, 0.5, wins), lengths).ci
        inside += low <= truth <= high
    assert inside >= 367


def test_a_taste_for_length_is_taken_out() -> None:
    wins, lengths = judged(0, 0.0, 2.0, n=4000)
    assert wins.mean() > 0.58
    assert length_controlled(wins, lengths).value == pytest.approx(0.5, abs=0.03)


def test_equal_lengths_leave_the_win_rate() -> None:
    wins = np.array([1.0] * 30 + [0.0] * 10 + [0.5] * 8)
    found = length_controlled(wins, np.full((48, 2), 100))
    assert found.value == pytest.approx(34 / 48, abs=1e-4)
    assert found.ci[0] < found.value < found.ci[1]


def test_the_fit_of_the_interval_against_a_general_optimiser() -> None:
    wins, lengths = judged(0, 0.4, 1.0, n=40)
    wins[:4] = 0.5
    d = lengths[:, 0] - lengths[:, 1]
    x = np.stack([np.ones(40), np.tanh(d / d.std())], axis=1)

    def loss(weights: np.ndarray) -> float:
        p = sigmoid(x @ weights)
        information = x.T @ ((p * (1 - p))[:, None] * x)
        jeffreys = 0.5 * np.linalg.slogdet(information)[1]
        return float(-(wins * np.log(p) + (1 - wins) * np.log(1 - p)).sum() - jeffreys)

    best = minimize(loss, np.zeros(2), tol=1e-12).x
    coefficients, inverse, leverage = _firth(x, wins)
    assert coefficients == pytest.approx(best, abs=1e-4)
    assert leverage.sum() == pytest.approx(2, abs=1e-6)
    # Squared influences in a loop: the residual of every comparison, and half a win and half a loss of its leverage.
    p, variance = sigmoid(x @ coefficients), 0.0
    for i in range(40):
        move = inverse[0] @ x[i]
        for weight, outcome in ((1.0, wins[i]), (leverage[i] / 2, 1.0), (leverage[i] / 2, 0.0)):
            variance += weight * (move * (outcome - p[i])) ** 2
    half = 2.0243942 * math.sqrt(variance)  # Student's 97.5 % for 38
    found = length_controlled(wins, lengths).ci
    assert found == pytest.approx([sigmoid(coefficients[0] - half), sigmoid(coefficients[0] + half)], abs=1e-6)


def test_one_sided_judgements_have_a_wide_interval() -> None:
    for lengths in (np.arange(100).reshape(50, 2), np.full((50, 2), 7)):
        low, high = length_controlled(np.ones(50), lengths).ci
        assert 0.75 < low < 0.95 and high > 0.999
        low, high = length_controlled(np.zeros(50), lengths).ci
        assert low < 0.001 and 0.05 < high < 0.25
    # Every longer output wins: at equal lengths there is nothing to go by.
    lengths = np.array([[2, 1], [1, 2]] * 30)
    found = length_controlled(np.array([1.0, 0.0] * 30), lengths)
    assert found.value == pytest.approx(0.5, abs=1e-6) and found.ci[0] < 0.15 and found.ci[1] > 0.85
    assert length_controlled(np.ones(1), np.array([[2, 1]])).ci[0] < 0.01
    with pytest.raises(DataError, match=r"There are 2 comparisons and lengths of shape \(2,\)"):
        length_controlled(np.ones(2), np.ones(2))


def test_ties_have_a_narrower_interval_than_wins_and_losses() -> None:
    lengths = np.random.default_rng(0).integers(100, 1000, size=(60, 2))
    decided = length_controlled(np.array([0.0, 1.0] * 30), lengths).ci
    tied = length_controlled(np.array([0.0, 1.0, *[0.5] * 18] * 3), lengths).ci
    assert decided[0] < tied[0] < 0.5 < tied[1] < decided[1]
    all_tied = length_controlled(np.full(60, 0.5), lengths).ci
    assert 0.005 < all_tied[1] - all_tied[0] < tied[1] - tied[0]


def test_the_bootstrap_finds_the_error_of_the_fit_in_batches() -> None:
    wins, lengths = judged(3, 0.5, 1.0)
    plain = length_controlled(wins, lengths)
    drawn = length_controlled(wins, lengths, resamples=1500)
    assert drawn.stderr == pytest.approx(plain.stderr, rel=0.08) and drawn.stderr != plain.stderr
    assert (drawn.value, drawn.ci) == (plain.value, plain.ci)
    assert length_controlled(wins, lengths, resamples=1500).stderr == drawn.stderr
    assert length_controlled(wins, lengths, resamples=1500, seed=1).stderr != drawn.stderr
    tracemalloc.start()
    peaks = []
    for resamples in (300, 900):
        tracemalloc.reset_peak()
        length_controlled(np.tile(wins, 10), np.tile(lengths, (10, 1)), resamples=resamples)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 120e6
    with pytest.raises(ConfigError, match="resamples is 99; give at least 100"):
        length_controlled(wins, lengths, resamples=99)


def test_difficulty_against_a_general_optimiser() -> None:
    wins, lengths = judged(1, 0.4, 1.0)
    difficulty = np.random.default_rng(2).normal(size=400)
    wins = (np.random.default_rng(3).random(400) < sigmoid(0.2 + 1.5 * difficulty)).astype(float)
    d = lengths[:, 0] - lengths[:, 1]
    x = np.stack([np.ones(400), difficulty, np.tanh(d / d.std())], axis=1)

    def loss(weights: np.ndarray) -> float:
        p = sigmoid(x @ weights)
        return float(-(wins * np.log(p) + (1 - wins) * np.log(1 - p)).sum() + 0.5e-3 * (weights**2).sum())

    best = minimize(loss, np.zeros(3), tol=1e-12).x
    found = length_controlled(wins, lengths, difficulty=difficulty)
    assert found.value == pytest.approx(float(sigmoid(best[0] + best[1] * difficulty).mean()), abs=1e-5)
    assert found.ci[0] < found.value < found.ci[1]
    assert found.value != pytest.approx(length_controlled(wins, lengths).value, abs=1e-3)
    for wrong in (difficulty[:5], np.full(400, np.nan)):
        with pytest.raises(DataError, match="difficulty must hold 400 numbers"):
            length_controlled(wins, lengths, difficulty=wrong)


def test_the_truth_lies_in_the_interval_where_instructions_differ_in_difficulty() -> None:
    many = np.random.default_rng(9).normal(size=100_000)
    truth, inside = float(sigmoid(0.5 + 3 * many).mean()), 0
    for seed in range(500):
        generator = np.random.default_rng(seed)
        lengths = generator.integers(100, 1000, size=(400, 2))
        d, difficulty = lengths[:, 0] - lengths[:, 1], generator.normal(size=400)
        p = sigmoid(0.5 + 3 * difficulty + 1.5 * np.tanh(d / d.std()))
        wins = (generator.random(400) < p).astype(float)
        found = length_controlled(wins, lengths, difficulty=difficulty)
        inside += found.ci[0] <= truth <= found.ci[1]
    assert 460 <= inside <= 490
