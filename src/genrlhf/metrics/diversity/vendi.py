"""The effective number of different texts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from genrlhf.errors import ConfigError, ModelError
from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.diversity.embeddings import DEFAULT_ENCODER, Embedder, Encoder, as_embedder
from genrlhf.metrics.diversity.set_metric import SetMetric

__all__ = ["VendiScore"]

_NEGATIVE = 1e-4
"""How far an eigenvalue may lie below 0, over the number of texts: rounding to float16 does that."""


class VendiScore(SetMetric):
    """The exponential of the entropy of a similarity matrix's eigenvalues: the effective number of different texts.

    With K the (n, n) similarities, 1 on the diagonal, and λ the eigenvalues of K / n::

        VS_q = exp(log(Σ λ^q) / (1 − q)),   VS_1 = exp(−Σ λ log λ),   VS_∞ = 1 / max λ          in [1, n]

    Friedman & Dieng 2023, "The Vendi Score"; other orders Pasarkar & Dieng 2024, "Cousins of the Vendi Score". Higher
    is more diverse: n equal texts give 1, n with no similarity give n. With embeddings, K holds their cosines, and
    where there are more texts than dimensions the eigenvalues come from the smaller matrix of dimensions. An embedding
    of length zero counts as at right angles to all others. NaN for no texts.

    Args:
        encoder: as of `SentenceBERT`.
        kernel: similarities of one's own in place of embeddings: `texts -> (n, n)`, symmetric, with 1 on the diagonal
            and no negative eigenvalues.
        q: the order, at least 0; higher ones look at the commonest texts, 0 counts the distinct ones.

    Raises:
        ConfigError: for an order below 0.
        ModelError: what the kernel returned is no such matrix.

    Example:
        >>> metric = VendiScore(kernel=lambda texts: [[float(a == b) for b in texts] for a in texts])
        >>> round(metric(["yes", "no", "yes", "no"]), 6)
        2.0
    """

    name: ClassVar[str] = "vendi"
    higher_is_more_diverse: ClassVar[bool] = True

    def __init__(
        self,
        encoder: str | Encoder | Embedder | Any = DEFAULT_ENCODER,
        *,
        kernel: Callable[[list[str]], Any] | None = None,
        q: float = 1.0,
    ) -> None:
        if not q >= 0:
            raise ConfigError(f"q is {q}; give an order of at least 0 (math.inf is one).")
        self.embedder = None if kernel is not None else as_embedder(encoder)
        self.kernel = kernel
        self.q = q

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` are longer than the encoder takes."""
        return {} if self.embedder is None else self.embedder.remarks(texts)

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the Vendi score of every set of texts, embedding all of them in one pass."""
        checked = [check_texts(texts, f"set {row}") for row, texts in enumerate(sets)]
        values = [math.nan] * len(checked)
        by_shape: dict[tuple[int, ...], list[tuple[int, np.ndarray, int]]] = defaultdict(list)
        for row, (matrix, apart) in enumerate(self._matrices(checked)):
            if checked[row]:
                by_shape[matrix.shape].append((row, matrix, apart))
        for found in by_shape.values():
            eigenvalues = np.linalg.eigvalsh(np.stack([matrix for _, matrix, _ in found]))
            for (row, _, apart), spectrum in zip(found, eigenvalues, strict=True):
                n = len(checked[row])
                _check_spectrum(spectrum, n)
                values[row] = self._score(np.r_[np.clip(spectrum, 0, None) / n, np.full(apart, 1 / n)])
        return values

    def _matrices(self, sets: list[list[str]]) -> list[tuple[np.ndarray, int]]:
        """Return, of every set, a matrix with the nonzero eigenvalues of K, and how many further ones are 1."""
        if self.kernel is not None:
            return [(_check_kernel(self.kernel(texts), len(texts)), 0) for texts in sets]
        assert self.embedder is not None
        matrices = []
        for units in self.embedder.directions(sets):
            present = units[units.any(axis=1)]
            n, d = present.shape
            matrices.append((present @ present.T if n <= d else present.T @ present, len(units) - n))
        return matrices

    def _score(self, shares: np.ndarray) -> float:
        # What rounding leaves of a zero eigenvalue would count as a text of its own at q = 0.
        p = shares[shares > 1e-12 * len(shares)]
        return _exp_entropy(np.log(p / p.sum()), self.q)


def _exp_entropy(logs: np.ndarray, q: float) -> float:
    """Return exp(log(Σ p^q) / (1 − q)), the exponential of the entropy of order q, from log p.

    The sum is taken in logarithms: p^q of a large q is 0 in floating point, and beside q = 1 the sum is 1 but for what
    rounding leaves.
    """
    if q == 1:
        return float(np.exp(-(np.exp(logs) * logs).sum()))
    if math.isinf(q):
        return float(np.exp(-logs.max()))
    if abs(q - 1) * abs(logs).max() < 1:  # Σ p^q = 1 + Σ p (p^(q − 1) − 1)
        log_sum = math.log1p(float((np.exp(logs) * np.expm1((q - 1) * logs)).sum()))
    else:
        largest = float((q * logs).max())
        log_sum = largest + math.log(float(np.exp(q * logs - largest).sum()))
    return math.exp(log_sum / (1 - q))


def _check_spectrum(spectrum: np.ndarray, n: int) -> None:
    least = float(spectrum.min(initial=0.0))
    if least < -_NEGATIVE * n:
        raise ModelError(
            f"kernel returned similarities of {n} texts with an eigenvalue of {least:.3g}: they are those of no "
            "features (positive semi-definite), and have no Vendi score; give a kernel, such as cosines."
        )


def _check_kernel(returned: Any, n: int) -> np.ndarray:
    kernel = np.asarray(returned, dtype=np.float64)
    if kernel.shape != (n, n) or not np.isfinite(kernel).all() or not np.allclose(kernel, kernel.T, atol=1e-6):
        raise ModelError(f"kernel must return finite symmetric similarities of shape ({n}, {n}) for {n} texts.")
    if not np.allclose(np.diagonal(kernel), 1, atol=1e-6):
        raise ModelError("kernel must return 1 as the similarity of a text to itself; divide by the diagonal's root.")
    return kernel
