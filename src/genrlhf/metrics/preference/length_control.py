"""Win rates at equal lengths: what is left when a judge's taste for length is taken out."""

from __future__ import annotations

import numpy as np

from genrlhf.errors import DataError
from genrlhf.types import Estimate

__all__ = ["length_controlled"]

_RIDGE = 1e-3
"""Keeps the coefficients finite where every longer output wins."""


def length_controlled(wins: np.ndarray, lengths: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the win rate that a logistic model of the judge predicts for outputs of equal length.

    With d the difference in length of a comparison's two outputs and s its standard deviation::

        P(model wins) = σ(θ + φ tanh(d / s)),    length-controlled win rate = σ(θ)

    Dubois et al. 2024, "Length-Controlled AlpacaEval", without the term of the instruction's difficulty, which takes a
    table of other models' judgements. The fit is by maximum likelihood, with preferences by degree and ties as they are
    and a penalty of 10⁻³ / 2 (θ² + φ²). The interval is that of a percentile bootstrap over comparisons, which fits
    both again every time.

    Args:
        wins: (n,) floats in [0, 1], how much the judge prefers the model.
        lengths: (n, 2) integers, of the model's output and of the other.
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
    design = np.stack([np.ones(len(wins)), np.tanh(differences / spread) if spread else np.zeros(len(wins))], axis=1)
    theta = _fit(design, wins, np.ones((1, len(wins))))[0, 0]
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(wins), np.full(len(wins), 1 / len(wins)), size=resamples)
    rates = _sigmoid(_fit(design, wins, counts.astype(np.float64))[:, 0])
    low, high = np.quantile(rates, [0.025, 0.975])
    return Estimate(
        value=float(_sigmoid(theta)),
        stderr=float(rates.std(ddof=1)),
        ci=(float(low), float(high)),
        n=len(wins),
        values=np.zeros(0),
    )


def _sigmoid(x: np.ndarray) -> np.ndarray:
    value: np.ndarray = 1 / (1 + np.exp(-x))
    return value


def _fit(design: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients of many weighted logistic regressions at once, (B, 2), by Newton's method.

    Args:
        design: (n, 2).
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
