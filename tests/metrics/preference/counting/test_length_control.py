"""Length-controlled win rates on judgements with a known taste for length."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from genrlhf.errors import DataError
from genrlhf.metrics.preference import length_controlled


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
    found = length_controlled(wins, lengths, resamples=200)
    assert found.value == pytest.approx(float(sigmoid(best.x[0])), abs=1e-5)
    assert found.n == 400


def test_the_truth_lies_in_the_interval() -> None:
    inside = 0
    for seed in range(100):
        theta = (seed % 5 - 2) / 2
        wins, lengths = judged(seed, theta, 1.5)
        low, high = length_controlled(wins, lengths, resamples=400, seed=seed).ci
        inside += low <= sigmoid(theta) <= high
    assert inside >= 93


def test_a_taste_for_length_is_taken_out() -> None:
    wins, lengths = judged(0, 0.0, 2.0, n=4000)
    assert wins.mean() > 0.58
    assert length_controlled(wins, lengths, resamples=200).value == pytest.approx(0.5, abs=0.03)


def test_equal_lengths_leave_the_win_rate() -> None:
    wins = np.array([1.0] * 30 + [0.0] * 10 + [0.5] * 8)
    found = length_controlled(wins, np.full((48, 2), 100), resamples=300)
    assert found.value == pytest.approx(34 / 48, abs=1e-4)
    assert found.ci[0] < found.value < found.ci[1]


def test_one_sided_judgements_stay_finite() -> None:
    found = length_controlled(np.ones(50), np.arange(100).reshape(50, 2), resamples=100)
    assert 0.99 < found.value <= 1 and all(math.isfinite(end) for end in found.ci)
    # Every longer output wins.
    lengths = np.array([[2, 1], [1, 2]] * 30)
    found = length_controlled(np.array([1.0, 0.0] * 30), lengths, resamples=100)
    assert found.value == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(DataError, match=r"There are 2 comparisons and lengths of shape \(2,\)"):
        length_controlled(np.ones(2), np.ones(2))


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
    found = length_controlled(wins, lengths, difficulty=difficulty, resamples=200)
    assert found.value == pytest.approx(float(sigmoid(best[0] + best[1] * difficulty).mean()), abs=1e-5)
    assert found.ci[0] < found.value < found.ci[1]
    assert found.value != pytest.approx(length_controlled(wins, lengths, resamples=100).value, abs=1e-3)
    for wrong in (difficulty[:5], np.full(400, np.nan)):
        with pytest.raises(DataError, match="difficulty must hold 400 numbers"):
            length_controlled(wins, lengths, difficulty=wrong, resamples=100)


def test_the_truth_lies_in_the_interval_where_instructions_differ_in_difficulty() -> None:
    many = np.random.default_rng(9).normal(size=100_000)
    truth, inside = float(sigmoid(0.5 + 3 * many).mean()), 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        lengths = generator.integers(100, 1000, size=(400, 2))
        d, difficulty = lengths[:, 0] - lengths[:, 1], generator.normal(size=400)
        p = sigmoid(0.5 + 3 * difficulty + 1.5 * np.tanh(d / d.std()))
        wins = (generator.random(400) < p).astype(float)
        found = length_controlled(wins, lengths, difficulty=difficulty, resamples=300, seed=seed)
        inside += found.ci[0] <= truth <= found.ci[1]
    assert inside >= 90
