"""Which texts say the same: sets of texts in classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from genrlhf.errors import ConfigError, ModelError
from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.diversity.embeddings import DEFAULT_ENCODER, Embedder, Encoder, as_embedder
from genrlhf.metrics.diversity.nli_model import NLI_CLASSES
from genrlhf.metrics.diversity.nli_scorer import NLIScorer, SharedScorer
from genrlhf.text import composed

__all__ = ["Classes", "EmbeddingClasses", "EntailmentClasses", "ExactClasses", "JudgedClasses"]

SameMeaning: TypeAlias = Callable[[list[str], list[str]], Sequence[bool]]
"""Says of texts and others, pair by pair, whether both say the same."""


class Classes(Protocol):
    """Divides the texts of sets into classes that say the same."""

    def __call__(self, sets: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return the class of every text of every set, numbered from 0 in the order of their first texts."""
        ...


class ExactClasses:
    """Texts are the same where their characters are, leaving out blanks at the ends and, by default, case.

    Args:
        ignore_case: whether "Yes" is "yes".

    Example:
        >>> ExactClasses()([["Yes", "no", " yes"]])
        [[0, 1, 0]]
    """

    def __init__(self, *, ignore_case: bool = True) -> None:
        self.ignore_case = ignore_case

    def __call__(self, sets: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return the class of every text of every set."""
        found = []
        for row, texts in enumerate(sets):
            numbers: dict[str, int] = {}
            bare = [composed(text).strip() for text in _checked(texts, row)]
            keys = [text.casefold() for text in bare] if self.ignore_case else bare
            found.append([numbers.setdefault(key, len(numbers)) for key in keys])
        return found


class _Greedy:
    """Puts every text into the first class whose first text says the same, or into a new one.

    In rounds: a round compares the first text of one new class of every set with all texts that have no class yet, so
    that a classifier sees few and large batches, and no more pairs than there are classes times texts.
    """

    def __call__(self, sets: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return the class of every text of every set."""
        checked = [_checked(texts, row) for row, texts in enumerate(sets)]
        classes: list[list[int]] = [[-1] * len(texts) for texts in checked]
        number = 0
        while True:
            pairs = []
            for row, found in enumerate(classes):
                free = [i for i, label in enumerate(found) if label < 0]
                if free:
                    found[free[0]] = number
                    pairs += [(row, free[0], i) for i in free[1:]]
            if not pairs:
                return classes
            first = [checked[row][i] for row, i, _ in pairs]
            other = [checked[row][i] for row, _, i in pairs]
            for (row, _, i), same in zip(pairs, self._same(first, other), strict=True):
                if same:
                    classes[row][i] = number
            number += 1

    def _same(self, first: list[str], other: list[str]) -> Sequence[bool]:
        raise NotImplementedError


class EmbeddingClasses(_Greedy):
    """Texts are the same where the cosine of their embeddings reaches a threshold.

    Args:
        encoder: as of `SentenceBERT`.
        threshold: in (−1, 1].

    Raises:
        ConfigError: for a threshold that no cosine, or every one, reaches.
    """

    def __init__(self, encoder: str | Encoder | Embedder | Any = DEFAULT_ENCODER, *, threshold: float = 0.85) -> None:
        if not -1 < threshold <= 1:
            raise ConfigError(f"threshold is {threshold}; give a cosine above −1 and at most 1, such as 0.85.")
        self.embedder = as_embedder(encoder)
        self.threshold = threshold

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` are longer than the encoder takes."""
        return self.embedder.remarks(texts)

    def _same(self, first: list[str], other: list[str]) -> Sequence[bool]:
        a, b = self.embedder.directions([first, other])
        # Equal texts have a cosine of 1 but for rounding.
        return [bool(cosine >= self.threshold - 1e-9) for cosine in np.einsum("ij,ij->i", a, b)]


class EntailmentClasses(_Greedy):
    """Texts are the same where each entails the other by an NLI classifier's prediction.

    Kuhn, Gal & Farquhar 2023, "Semantic Uncertainty", algorithm 1; they put the question in front of both texts, which
    is left to the caller here.

    Args:
        scorer: as of `NLIDiversity`.
    """

    def __init__(self, scorer: str | NLIScorer | SharedScorer = "FacebookAI/roberta-large-mnli") -> None:
        self.scorer = scorer if isinstance(scorer, SharedScorer) else SharedScorer(scorer)

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` the classifier did not see the ends of."""
        return self.scorer.remarks(texts)

    def _same(self, first: list[str], other: list[str]) -> Sequence[bool]:
        pairs = list(zip(first, other, strict=True))
        predicted = self.scorer([*pairs, *((b, a) for a, b in pairs)]).argmax(axis=1)
        entailed = (predicted == NLI_CLASSES.index("entailment")).reshape(2, len(pairs))
        return [bool(both) for both in entailed.all(axis=0)]


class JudgedClasses(_Greedy):
    """Texts are the same where a judge says so.

    Zhang et al. 2025, "NoveltyBench", train a classifier for it; any callable does, such as a language model asked
    whether a user who has seen the one would gain anything from the other.

    Args:
        same: `(texts, others) -> booleans`, one a pair.
    """

    def __init__(self, same: SameMeaning) -> None:
        self.same = same

    def _same(self, first: list[str], other: list[str]) -> Sequence[bool]:
        verdicts = list(self.same(first, other))
        if len(verdicts) != len(first) or any(not isinstance(verdict, (bool, np.bool_)) for verdict in verdicts):
            raise ModelError(f"The judge of equal meaning must return {len(first)} booleans, one a pair of texts.")
        return verdicts


def _checked(texts: Sequence[str], row: int) -> list[str]:
    return check_texts(texts, f"set {row}")
