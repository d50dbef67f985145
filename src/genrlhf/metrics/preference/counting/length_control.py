"""Win rates at equal lengths: what is left when a judge's taste for length is taken out."""

from __future__ import annotations

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.types import Estimate

__all__ = ["length_controlled"]

_RIDGE = 1e-3
"""Keeps the coefficients finite where every longer output wins."""
_NUMBERS_AT_ONCE = 1_000_000


def length_controlled(
    wins: np.ndarray,
    lengths: np.ndarray,
    *,
    difficulty: np.ndarray | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Estimate:
    """Return the win rate that a logistic model of the judge predicts for outputs of equal length.

    With d the difference in length of a comparison's two outputs and s its standard deviation::

        P(model wins) = σ(θ + φ tanh(d / s)),    length-controlled win rate = σ(θ)

    Dubois et al. 2024, "Length-Controlled AlpacaEval". Where it is known how difficult each instruction is for the
    baseline, which takes a table made of other models' judgements, their term ψ · difficulty is added, and the rate is
    the mean of σ(θ + ψ · difficulty) over comparisons. The fit is by maximum likelihood, with preferences by degree and
    ties as they are and a penalty of 10⁻³ / 2 for the square of every coefficient; AlpacaEval's own adds judgements of
    artificially long and short outputs and chooses an L1 penalty by cross-validation.

    The interval is made on the scale of log-odds from a fit of its own that adds to every comparison half a win and
    half a loss of the weight of its leverage h_i (Firth 1993, "Bias Reduction of Maximum Likelihood Estimates"), which
    keeps it finite, and the interval wide, where lengths tell wins from losses or all comparisons are won (Heinze &
    Schemper 2002, "A Solution to the Problem of Separation in Logistic Regression"). Its variance is the sum of squared
    influences of comparisons, added halves among them, so that it takes the judge's ties for what they are; the
    quantile is Student's with n − k degrees of freedom. A bootstrap has too short intervals here: see docs/log.md.

    Args:
        wins: (n,) floats in [0, 1], how much the judge prefers the model.
        lengths: (n, 2) integers, of the model's output and of the other.
        difficulty: (n,) floats, of the instructions; None leaves the term out.
        resamples: take the standard error from so many bootstrap resamples of the comparisons, each fitted anew, at
            least 100; with 0 it is that of the interval's fit.
        seed: of the bootstrap.

    Raises:
        DataError: there are no comparisons, or the two arrays do not go together.
        ConfigError: for 1 to 99 resamples.

    Example:
        >>> wins = np.array([1, 1, 1, 0, 1, 0, 0, 1, 0, 0] * 20)
        >>> lengths = np.array([[20, 10], [30, 10], [10, 12], [12, 20], [25, 10], [10, 30], [9, 10], [11, 10]] * 25)
        >>> print(length_controlled(wins, lengths))
        0.495 [0.424, 0.565]
        >>> print(length_controlled(np.ones(20), np.arange(40).reshape(20, 2)))
        1.000 [0.636, 1.000]
    """
    if resamples and resamples < 100:
        raise ConfigError(f"resamples is {resamples}; give at least 100, such as 2000, or 0 for none.")
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
    longer = np.tanh(differences / spread) if spread else np.zeros(len(wins))
    design = np.stack([*free, longer], axis=1)
    value = float(_rates(design, wins, np.ones((1, len(wins))))[0])
    (low, high), stderr = _interval(design, wins)
    if resamples:
        stderr = _bootstrap_error(design, wins, resamples, seed)
    return Estimate(value=value, stderr=stderr, ci=(min(low, value), max(high, value)), n=len(wins), values=np.zeros(0))


def _interval(design: np.ndarray, wins: np.ndarray) -> tuple[tuple[float, float], float]:
    """Return the interval of the rate at equal lengths and its standard error, from Firth's fit."""
    from scipy.special import expit, logit, stdtrit

    n, k = design.shape
    coefficients, inverse, leverage = _firth(design, wins)
    predicted = expit(design @ coefficients)
    equal = expit(design[:, :-1] @ coefficients[:-1])
    rate = float(np.clip(equal.mean(), 1e-12, 1 - 1e-12))
    # How the rate moves with the coefficients, and they with the residual of every comparison.
    gradient = np.append((equal * (1 - equal)) @ design[:, :-1] / n, 0.0)
    moves = design @ (inverse @ gradient)
    own = (wins - predicted) * moves + (equal - rate) / n
    halves = leverage / 2 * (predicted**2 + (1 - predicted) ** 2) * moves**2
    stderr = float(np.sqrt((own**2).sum() + halves.sum()))
    half = float(stdtrit(max(n - k, 1), 0.975)) * stderr / (rate * (1 - rate))
    return (float(expit(logit(rate) - half)), float(expit(logit(rate) + half))), stderr


def _firth(design: np.ndarray, wins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Firth's coefficients (k,), the inverse of their information (k, k) and the leverages (n,)."""
    from scipy.special import expit

    coefficients = np.zeros(design.shape[1])
    for _ in range(200):
        predicted = expit(design @ coefficients)
        weights = predicted * (1 - predicted)
        # A column of zeros, as of equal lengths, has no information.
        information = design.T @ (weights[:, None] * design) + 1e-8 * np.eye(design.shape[1])
        inverse = np.linalg.inv(information)
        leverage = weights * np.einsum("ni,ij,nj->n", design, inverse, design)
        step = inverse @ ((wins - predicted + leverage * (0.5 - predicted)) @ design)
        size = float(np.abs(step).max())
        if size < 1e-9:
            break
        coefficients = coefficients + step * min(1.0, 2.0 / size)
    return coefficients, inverse, leverage


def _bootstrap_error(design: np.ndarray, wins: np.ndarray, resamples: int, seed: int) -> float:
    """Return the standard deviation of the rate over resamples of the comparisons, some of them in memory at a time."""
    generator = np.random.default_rng(seed)
    n = len(wins)
    step = max(1, _NUMBERS_AT_ONCE // n)
    rates = []
    for start in range(0, resamples, step):
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(step, resamples - start))
        rates.append(_rates(design, wins, counts.astype(np.float64)))
    return float(np.concatenate(rates).std(ddof=1))


def _rates(design: np.ndarray, wins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rate at equal lengths of many weightings of the comparisons, (B,) for weights of (B, n)."""
    from scipy.special import expit

    coefficients = _fit(design, wins, weights)[:, :-1]
    if coefficients.shape[1] == 1:
        rates: np.ndarray = expit(coefficients[:, 0])
        return rates
    rates = (weights * expit(coefficients @ design[:, :-1].T)).sum(axis=1) / weights.sum(axis=1)
    return rates


def _fit(design: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the coefficients of many weighted logistic regressions at once, (B, k), by Newton's method.

    Args:
        design: (n, k).
        targets: (n,) in [0, 1].
        weights: (B, n) of every comparison in every regression.
    """
    from scipy.special import expit

    coefficients = np.zeros((len(weights), design.shape[1]))
    products = np.einsum("ni,nj->nij", design, design).reshape(len(design), -1)
    for _ in range(50):
        predicted = expit(coefficients @ design.T)
        gradient = (weights * (targets - predicted)) @ design - _RIDGE * coefficients
        curvature = (weights * predicted * (1 - predicted)) @ products
        hessian = curvature.reshape(-1, design.shape[1], design.shape[1]) + _RIDGE * np.eye(design.shape[1])
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        # Far from the optimum a whole step may overshoot.
        coefficients += step * np.minimum(1, 4 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return coefficients
