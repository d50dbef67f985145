"""What a model has forgotten: its loss on texts beside that of the model that it comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import DataError, ShapeError
from genrlhf.metrics.estimate import held_within, mean_estimate
from genrlhf.types import Estimate

__all__ = ["Forgetting", "forgetting", "forward_kl"]


@dataclass(frozen=True)
class Forgetting:
    """A checkpoint's loss on texts beside its base's, in nats a token.

    Attributes:
        base_loss: −1/T Σ log p_base.
        loss: that of the checkpoint.
        increase: the loss less the base's; above 0 where texts have become less likely.
        forward_kl: KL(base ‖ checkpoint), a token; None where it was not given.
    """

    base_loss: Estimate
    loss: Estimate
    increase: Estimate
    forward_kl: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "base_loss": self.base_loss.to_dict(),
            "loss": self.loss.to_dict(),
            "increase": self.increase.to_dict(),
            **({} if self.forward_kl is None else {"forward_kl": self.forward_kl.to_dict()}),
        }


def forgetting(
    base: Sequence[Sequence[float]],
    checkpoint: Sequence[Sequence[float]],
    *,
    kl: Sequence[Sequence[float]] | None = None,
) -> Forgetting:
    """Return how much less likely texts are to a checkpoint than to its base, with intervals over texts.

    The mean is over tokens, R = Σ_i Σ_t x_it / Σ_i T_i, in which long texts count more; the units are texts, whose
    tokens are not independent. Its error is that of a ratio, by leaving out single texts: with w_i = T_i / Σ T and T̄
    the mean length, the interval is `mean_estimate`'s of n values around R, the residuals::

        (1 − 1/n) (Σ_t x_it − R T_i) / (T̄ (1 − w_i))

    but with Student's t of 1 / Σ w² − 1 degrees of freedom in place of n − 1: so many texts of equal length say as much
    (Kish 1965, "Survey Sampling"). Both models see the same texts, so that the increase is known better than either
    loss.

    Args:
        base: one list per text, of the log-probability of each of its tokens under the base, at temperature 1.
        checkpoint: the same of the checkpoint.
        kl: of every token, KL(base ‖ checkpoint) over the vocabulary (see `forward_kl`). The increase is an estimate of
            it, with more noise, where the texts were sampled from the base.

    Raises:
        DataError: the two are not of the same tokens, or a number is no log-probability.

    Example:
        >>> found = forgetting([[-1.0, -1.0], [-2.0]], [[-1.5, -1.0], [-2.0]])
        >>> print(f"{found.base_loss.value:.4f} {found.increase.value:.4f}")
        1.3333 0.1667
    """
    ours, theirs = _checked(base, "base"), _checked(checkpoint, "checkpoint")
    sizes = [len(tokens) for tokens in ours]
    _same_tokens(sizes, theirs, "checkpoint")
    sums = np.array([[float(-tokens.sum()) for tokens in side] for side in (ours, theirs)])
    divergence = None
    if kl is not None:
        values = [np.asarray(tokens, dtype=np.float64) for tokens in kl]
        _same_tokens(sizes, values, "kl")
        divergence = _not_negative(_per_token([float(tokens.sum()) for tokens in values], sizes))
    return Forgetting(
        _not_negative(_per_token(sums[0], sizes)),
        _not_negative(_per_token(sums[1], sizes)),
        _per_token(sums[1] - sums[0], sizes),
        divergence,
    )


def forward_kl(base: ArrayLike, checkpoint: ArrayLike) -> np.ndarray:
    """Return KL(base ‖ checkpoint) = Σ_v p(v) (log p(v) − log q(v)) at every place, (…) float64, in nats.

    Args:
        base: (…, V) log-probabilities, each place's of sum 1; −inf for what cannot be.
        checkpoint: (…, V), the same of the checkpoint; infinite where it rules out what the base does not.

    Raises:
        ShapeError: the two have other shapes.

    Example:
        >>> half, other = np.log([0.5, 0.5]), np.log([0.9, 0.1])
        >>> print(f"{forward_kl(half, other):.4f}")  # ½ log(½ / 0.9) + ½ log(½ / 0.1)
        0.5108
    """
    p, q = np.asarray(base, dtype=np.float64), np.asarray(checkpoint, dtype=np.float64)
    if p.shape != q.shape or not p.ndim:
        raise ShapeError(f"base has shape {p.shape} and checkpoint {q.shape}; give (…, V) of both.")
    there = p > -math.inf
    with np.errstate(invalid="ignore"):
        terms = np.where(there, np.exp(p) * (p - q), 0.0)
    # Of equal distributions the sum is 0 but for rounding.
    found: np.ndarray = np.maximum(terms.sum(axis=-1), 0.0)
    return found


def _per_token(sums: ArrayLike, sizes: Sequence[int]) -> Estimate:
    """Return Σ sums / Σ sizes; the values of the estimate are those of texts, whose mean it is."""
    from scipy.special import stdtrit

    given, lengths = np.asarray(sums, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    ratio, n = float(given.sum() / lengths.sum()), len(lengths)
    if n < 2:
        return replace(mean_estimate([ratio]), value=ratio)
    shares = lengths / lengths.sum()
    away = (given - ratio * lengths) / lengths.mean() * (1 - 1 / n) / (1 - shares)
    away -= away.mean()
    found = mean_estimate(ratio + away)
    freedom = max(1 / float((shares**2).sum()) - 1, 1.0)
    wider = float(stdtrit(freedom, 0.975) / stdtrit(n - 1, 0.975))
    return replace(found, value=ratio, ci=mean_estimate(ratio + wider * away).ci)


def _not_negative(estimate: Estimate) -> Estimate:
    return held_within(estimate, (0.0, math.inf))


def _checked(logprobs: Sequence[Sequence[float]], name: str) -> list[np.ndarray]:
    found = [np.asarray(tokens, dtype=np.float64) for tokens in logprobs]
    if not found:
        raise DataError(f"{name} has no texts; give the log-probabilities of at least one.")
    for row, tokens in enumerate(found):
        if tokens.ndim != 1 or not len(tokens) or not (np.isfinite(tokens) & (tokens <= 1e-6)).all():
            raise DataError(
                f"{name}, text {row} is no list of log-probabilities, one a token, finite and at most 0; a text needs "
                "one token that follows another."
            )
    return found


def _same_tokens(sizes: Sequence[int], others: Sequence[np.ndarray], name: str) -> None:
    if len(sizes) != len(others):
        raise DataError(f"base has {len(sizes)} texts and {name} {len(others)}; give those of the same texts.")
    for row, (size, tokens) in enumerate(zip(sizes, others, strict=True)):
        if tokens.shape != (size,):
            raise DataError(
                f"Text {row} has {size} tokens in base and shape {tokens.shape} in {name}; both must be split by one "
                "tokenizer."
            )
