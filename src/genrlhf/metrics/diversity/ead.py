"""Expectation-adjusted distinct n-grams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from genrlhf.errors import ConfigError
from genrlhf.metrics.diversity.definitions import Definition
from genrlhf.metrics.diversity.ngrams import Tokenizer
from genrlhf.metrics.diversity.set_metric import OrderMean

__all__ = ["EAD"]


@dataclass(frozen=True)
class EAD(OrderMean):
    """The number of distinct n-grams over the number expected of so much text: N / (V (1 − ((V − 1) / V)^C)).

    N of the C n-grams in the whole set of texts are distinct; the denominator is how many distinct ones C draws from V
    equally likely ones give. Liu et al. 2022, "Rethinking and Refining the Distinct Metric"; averaged over
    n = 1 … 5 as in Kirk et al. 2024, "Understanding the Effects of RLHF on LLM Generalisation and Diversity". Above 0
    and usually below 1, higher is more diverse.

    The one V serves all orders. It is no number of possible n-grams (that would be V^n, and EAD would be `DistinctN`),
    but the scale at which repeats are forgiven: about half of C = 1.6 V n-grams may be repeats. Texts that repeat less
    than uniform draws come out above 1, by about C / (2 V) at most while C is small beside V. V → ∞ gives `DistinctN`.
    A value depends on V, on the tokenizer and slightly on the number of texts: compare only where these are the same.

    Attributes:
        vocab_size: V, at least 2. By default that of GPT-2's tokenizer, which the authors of the second paper
            used. It must not be counted on the texts: of words N would then equal V, and the value be 1 or more.
        n: an order of n-grams, or several, whose values are averaged. Orders longer than every text are left out.
        tokenize: splits a text into words; by default `words`.
        definition: "released-code" does as the code of Kirk et al. 2024: words are what blanks separate, without full
            stops, and an order longer than every text counts 0, as does a set without words. The other two do not
            differ.

    Raises:
        ConfigError: for an order below 1, or a vocabulary of fewer than 2 words.

    Example:
        >>> round(EAD(vocab_size=10, n=1)(["a b a", "a"]), 6)  # 2 / (10 (1 − 0.9⁴))
        0.581564
    """

    name: ClassVar[str] = "ead"
    higher_is_more_diverse: ClassVar[bool] = True
    vocab_size: int = 50257
    n: int | Sequence[int] = (1, 2, 3, 4, 5)
    tokenize: Tokenizer | None = None
    definition: Definition = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_size < 2:
            raise ConfigError(f"vocab_size is {self.vocab_size}; give at least 2 words, such as 50257.")

    def _score(self, distinct: np.ndarray, total: np.ndarray) -> np.ndarray:
        # (1 − 1/V)^C in logarithms: 1 − that would lose all digits where V is large beside C.
        expected = -self.vocab_size * np.expm1(total * math.log1p(-1 / self.vocab_size))
        ratio: np.ndarray = distinct / expected
        return ratio
