"""How alike two texts of a set are on average."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from genrlhf.errors import ConfigError
from genrlhf.metrics.diversity.bert_score import BERTScorer
from genrlhf.metrics.diversity.ngrams import Tokenizer
from genrlhf.metrics.diversity.pairs import check_max_pairs
from genrlhf.metrics.diversity.pairwise import PairwiseMetric
from genrlhf.metrics.diversity.remarks import without_words
from genrlhf.metrics.diversity.subsequences import common_subsequences
from genrlhf.text import terms
from genrlhf.types import HasRemarks

__all__ = ["Homogenisation", "rouge_l"]

PairScorer: TypeAlias = Callable[[list[tuple[str, str]]], Sequence[float]]
"""A symmetric similarity: pairs of texts -> one number a pair."""


class Homogenisation(PairwiseMetric):
    """The mean similarity of two different texts of a set: 2 / (n (n − 1)) Σ_{i<j} sim(i, j).

    Padmakumar & He 2024, "Does Writing with Language Models Reduce Content Diversity?"; Shaib et al. 2024,
    "Standardizing the Measurement of Text Diversity". **Lower is more diverse**; in [0, 1] for ROUGE-L, at most 1 for
    BERTScore. Texts without words are left out of ROUGE-L. NaN for fewer than 2 texts.

    Args:
        measure: "rouge_l", the F-measure of the longest common subsequence of lower-case words of any script, in
            scripts without blanks of characters (Lin 2004; see `terms` in `genrlhf.text`);
            "bert_score", that of the best-matching contextual embeddings of tokens (Zhang et al. 2020, as their package
            `bert-score` has it, without the weights and the rescaling that it leaves optional); or a callable from
            pairs of texts to numbers, NaN for pairs that shall not count.
        model: the encoder of "bert_score": a hub name or folder.
        layer: whose hidden states "bert_score" takes; by default the package's for a model that it knows, and the last
            one of any other.
        tokenize: splits a text into the words of "rouge_l" in place of `terms`.
        max_pairs: draw so many pairs of texts where there are more; None takes all. The default takes all pairs of up
            to 200 texts. `pair_error` says what the draw adds to the error.
        seed: of the draw.

    Raises:
        ConfigError: for an unknown measure.

    Example:
        >>> round(Homogenisation()(["the cat sat", "The cat ran.", "dogs bark"]), 6)  # (2/3 + 0 + 0) / 3
        0.222222
    """

    higher_is_more_diverse: ClassVar[bool] = False

    def __init__(
        self,
        measure: Literal["rouge_l", "bert_score"] | PairScorer = "rouge_l",
        *,
        model: str = "distilbert/distilbert-base-uncased",
        layer: int | None = None,
        tokenize: Tokenizer = terms,
        max_pairs: int | None = 20000,
        seed: int = 0,
    ) -> None:
        check_max_pairs(max_pairs)
        if isinstance(measure, str):
            if measure not in ("rouge_l", "bert_score"):
                raise ConfigError(f"measure is {measure!r}; give 'rouge_l', 'bert_score' or a callable.")
            self._score: Any = (
                BERTScorer(model, layer=layer) if measure == "bert_score" else partial(rouge_l, tokenize=tokenize)
            )
        else:
            self._score = measure
        self.measure = measure
        self.tokenize = tokenize
        self.max_pairs = max_pairs
        self.seed = seed

    @property
    def name(self) -> str:
        """What the metric is called in tables and files, with what it measures."""
        measure = self.measure if isinstance(self.measure, str) else getattr(self.measure, "__name__", "custom")
        return f"homogenisation_{measure}"

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the largest value that there can be, where they are known."""
        return (0.0, 1.0) if self.measure == "rouge_l" else None

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` have no words, or are longer than the encoder takes."""
        if self.measure == "rouge_l":
            return without_words(texts, self.tokenize)
        return self._score.remarks(texts) if isinstance(self._score, HasRemarks) else {}

    def score_pairs(self, pairs: list[tuple[str, str]]) -> Sequence[float] | np.ndarray:
        """Return the similarity of every pair."""
        found: Sequence[float] | np.ndarray = self._score(pairs)
        return found


def rouge_l(pairs: list[tuple[str, str]], tokenize: Tokenizer = terms) -> np.ndarray:
    """Return the ROUGE-L F-measure 2 L / (|a| + |b|) of every pair, (pairs,) float64, NaN where a text has no words.

    Args:
        pairs: of texts.
        tokenize: splits a text into words, by default letters and digits in lower case (see `terms` of `genrlhf.text`).
    """
    places: dict[str, int] = {}
    flat = [places.setdefault(text, len(places)) for pair in pairs for text in pair]
    words = [tokenize(text) for text in places]
    numbered = np.array(flat, dtype=np.int64).reshape(-1, 2)
    lengths = np.array([len(text) for text in words], dtype=np.int64)[numbered]
    scores = 2 * common_subsequences(words, numbered) / np.maximum(lengths.sum(axis=1), 1)
    return np.where((lengths > 0).all(axis=1), scores, math.nan)
