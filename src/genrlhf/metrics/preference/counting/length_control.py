"""Win rates at equal lengths: what is left when a judge's taste for length is taken out."""

from __future__ import annotations

import numpy as np

from genrlhf.errors import DataError
from genrlhf.types import Estimate

__all__ = ["length_controlled"]

_RIDGE = 1e-3
"""Keeps the coefficients finite where every longer output wins."""


def length_controlled(
    wins: np.ndarray,
    lengths: np.ndarray,
    *,
    difficulty: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return the win rate that a logistic model of the judge predicts for outputs of equal length.

    With d the difference in length of a comparison's two outputs and s its standard deviation::

        P(model wins) = σ(θ + φ tanh(d / s)),    length-controlled win rate = σ(θ)

    Dubois et al. 2024, "Length-Controlled AlpacaEval". Where it is known how difficult each instruction is for the
    baseline, which takes a table made of other models' judgements, their term ψ · difficulty is added, and the rate is
    the mean of σ(θ + ψ · difficulty) over comparisons. The fit is by maximum likelihood, with preferences by degree and
    ties as they are and a penalty of 10⁻³ / 2 for the square of every coefficient; AlpacaEval's own adds judgements of
    artificially long and short outputs and chooses an L1 penalty by cross-validation. The interval is that of a
    percentile bootstrap over comparisons, which fits all again every time.

    Args:
        wins: (n,) floats in [0, 1], how much the judge prefers the model.
        lengths: (n, 2) integers, of the model's output and of the other.
        difficulty: (n,) floats, of the instructions; None leaves the term out.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: there are no comparisons, or the two arrays do not go together.

    Example:
        >>> wins = np.array([1, 1, 1, 0, 1, 0, 0, 1, 0, 0] * 20)
        >>> lengths = np.array([[20, 10], [30, 10], [10, 12], [12, 20], [25, 10], [10, 30], [9, 10], [11, 10]] * 25)
        >>> 0.2 < length_controlled(wins, lengths, resamples=100).value < 0.8
        True
    """
    wins = np.asarray(wins, dtype=np.float64)
    sizes = np.asarray(lengths, dtype=np.float64)
    if not len(wins) or sizes.shape != (len(wins), 2):
        raise DataError(f"There are {len(wins)} comparisons and lengths of shape {sizes.shape}; give a pair for each.")
    differences = sizes[:, 0] - sizes[:, 1]
    spread = float(differences.std())
    free = [np.ones(len(wins))]
    if difficulty is not None:
        free.append(np.asarray(difficulty, dtype=np.float64))
        if free[1].shape != wins.shape or not np.isfinite(free[1]).all():
            raise DataError(f"difficulty must hold {len(wins)} numbers, one for every comparison.")
    equal_lengths = np.stack(free, axis=1)
    longer = np.tanh(differences / spread) if spread else np.zeros(len(wins))
    design = np.concatenate([equal_lengths, longer[:, None]], axis=1)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(wins), np.full(len(wins), 1 / len(wins)), size=resamples).astype(np.float64)
    weights = np.concatenate([np.ones((1, len(wins))), counts])
    coefficients = _fit(design, wins, weights)[:, :-1]
    rates = (weights * _sigmoid(coefficients @ equal_lengths.T)).sum(axis=1) / weights.sum(axis=1)
    low, high = np.quantile(rates[1:], [0.025, 0.975])
    return Estimate(
        value=float(rates[0]),
        stderr=float(rates[1:].std(ddof=1)),
        ci=(float(low), float(high)),
        n=len(wins),
        values=np.zeros(0),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    value: np.ndarray = 1 / (1 + np.exp(-x))
    return value


def _fit(design: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients of many weighted logistic regressions at once, (B, k), by Newton's method.

    Args:
        design: (n, k).
        targets: (n,) in [0, 1].
        weights: (B, n) of every comparison in every regression.
    """
    coefficients = np.zeros((len(weights), design.shape[1]))
    products = np.einsum("ni,nj->nij", design, design).reshape(len(design), -1)
    for _ in range(50):
        predicted = _sigmoid(coefficients @ design.T)
        gradient = (weights * (targets - predicted)) @ design - _RIDGE * coefficients
        curvature = (weights * predicted * (1 - predicted)) @ products
        hessian = curvature.reshape(-1, design.shape[1], design.shape[1]) + _RIDGE * np.eye(design.shape[1])
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        # Far from the optimum a whole step may overshoot.
        coefficients += step * np.minimum(1, 4 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return coefficients
