"""Distinct n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.metrics.diversity.definitions import Definition
from genrlhf.metrics.diversity.ngrams import Tokenizer
from genrlhf.metrics.diversity.set_metric import OrderMean

__all__ = ["DistinctN"]


@dataclass(frozen=True)
class DistinctN(OrderMean):
    """The share of n-grams that are distinct: N / C, with N distinct n-grams among C in the whole set of texts.

    Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models". In (0, 1], higher is more
    diverse. It falls with the amount of text; `EAD` corrects for that. NaN for texts without a single word.

    Attributes:
        n: an order of n-grams, or several, whose values are averaged. Orders longer than every text are left out.
        tokenize: splits a text into words; by default `words`.
        definition: "released-code" does as the code of Kirk et al. 2024: words are what blanks separate, without full
            stops, and an order longer than every text counts 0, as does a set without words. The other two do not
            differ.

    Raises:
        ConfigError: for an order below 1.

    Example:
        >>> DistinctN(1)(["a b", "a c"])
        0.75
    """

    name: ClassVar[str] = "distinct_n"
    higher_is_more_diverse: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    n: int | Sequence[int] = (1, 2, 3, 4, 5)
    tokenize: Tokenizer | None = None
    definition: Definition = "published"

    def _score(self, distinct: np.ndarray, total: np.ndarray) -> np.ndarray:
        share: np.ndarray = distinct / total
        return share
