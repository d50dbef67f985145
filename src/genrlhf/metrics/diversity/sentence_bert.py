"""Distance of meaning between texts, by embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.diversity.embeddings import DEFAULT_ENCODER, Embedder, Encoder, as_embedder
from genrlhf.metrics.diversity.set_metric import SetMetric

__all__ = ["SentenceBERT"]


class SentenceBERT(SetMetric):
    """One minus the mean cosine similarity of the embeddings of two different texts of a set.

    With `u_i = e_i / |e_i|` the directions of n embeddings::

        D = 1 − 2 / (n (n − 1)) Σ_{i<j} u_i · u_j = 1 − (|Σ u_i|² − Σ |u_i|²) / (n (n − 1))

    Reimers & Gurevych 2019, "Sentence-BERT"; as a measure of diversity Tevet & Berant 2021, "Evaluating the Evaluation
    of Diversity in Natural Language Generation", and Kirk et al. 2024. In [0, 2] and usually below 1, higher is more
    diverse. The right-hand form takes n steps, not n². An embedding of length zero counts as at right angles to all
    others. NaN for fewer than 2 texts.

    Args:
        encoder: an `Embedder`, or what one is made of: a name or folder, a `SentenceTransformer`, or a callable from
            texts to an array (texts, d). Values compare only under one encoder.
        batch_size: texts per forward pass; a plain callable gets all texts at once.
        device: where a name is loaded, such as "cuda"; by default wherever `SentenceTransformer` sees fit.

    Example:
        >>> directions = {"east": [1, 0], "north": [0, 2], "far east": [3, 0]}
        >>> metric = SentenceBERT(lambda texts: [directions[text] for text in texts])
        >>> round(metric(["east", "north", "far east"]), 6)
        0.666667
    """

    name: ClassVar[str] = "sentence_bert"
    higher_is_more_diverse: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 2.0)
    min_texts: ClassVar[int] = 2

    def __init__(
        self,
        encoder: str | Encoder | Embedder | Any = DEFAULT_ENCODER,
        *,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        self.embedder = as_embedder(encoder, batch_size=batch_size, device=device)

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` are longer than the encoder takes."""
        return self.embedder.remarks(texts)

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the diversity of every set of texts, embedding all of them in one pass, equal texts once."""
        checked = [check_texts(texts, f"set {row}") for row, texts in enumerate(sets)]
        return [
            _closed_form(units.sum(axis=0), float((units**2).sum()), len(units))
            for units in self.embedder.directions(checked)
        ]

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, list[float]]:
        """Return the diversity of `texts`, and that without each block of indices, embedding every text once."""
        (units,) = self.embedder.directions([check_texts(texts, "texts")])
        total, squares = units.sum(axis=0), float((units**2).sum())
        without = []
        for block in blocks:
            dropped = units[list(block)]
            left = total - dropped.sum(axis=0)
            without.append(_closed_form(left, squares - float((dropped**2).sum()), len(units) - len(dropped)))
        return _closed_form(total, squares, len(units)), without


def _closed_form(total: np.ndarray, squares: float, n: int) -> float:
    return 1 - (float(total @ total) - squares) / (n * (n - 1)) if n > 1 else math.nan
