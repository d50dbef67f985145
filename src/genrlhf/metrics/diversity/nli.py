"""Diversity of what texts say: do they contradict or entail each other?"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from genrlhf.errors import ConfigError
from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.diversity.definitions import Definition, check_definition
from genrlhf.metrics.diversity.nli_scorer import NLIScorer, SharedScorer
from genrlhf.metrics.diversity.pairs import check_max_pairs, draw_pairs
from genrlhf.metrics.diversity.set_metric import SetMetric
from genrlhf.metrics.diversity.tokenize import sentences

__all__ = ["NLIDiversity"]

_WEIGHTS = {
    "baseline": np.array([1.0, 0.0, -1.0]),
    "neutral": np.array([1.0, 1.0, -1.0]),
    "confidence": np.array([1.0, 0.0, -1.0]),
}
"""Of contradiction, neutral and entailment."""

_RELEASED_DRAWS = 5
"""Characters that the released code draws of either text of a pair."""

_DEFAULTS = {
    "published": ("sum", "texts"),
    "kirk2023": ("mean", "sentences"),
    "released-code": ("mean", "texts"),
}
"""`aggregate` and `split` of every definition."""


class _Pair(NamedTuple):
    """Two texts of a set, by index, and what of them is compared."""

    i: int
    j: int
    first: str
    second: str


class NLIDiversity(SetMetric):
    """How much the sentences of different texts contradict each other, less how much they entail each other.

    For a pair of sentences a classifier predicts contradiction (+1), neutral (0) or entailment (−1); the score s is
    that number times the probability of the predicted class. With s_ij for text i as premise and j as hypothesis::

        D = 2 / (n (n − 1)) Σ_{i<j} (s_ij + s_ji)          in [−2, 2]

    Higher is more diverse. Stasaski & Hearst 2022, "Semantic Diversity in Dialogue with Natural Language Inference",
    section 3, add up all s_ij; that sum grows with n², so the default divides it by the number of pairs, as the values
    that Kirk et al. 2024 print must have been: both directions of a pair being added, D can pass −1. NaN for fewer than
    2 texts.

    Args:
        scorer: a hub name or folder of an NLI classifier (see `NLIModel`, loaded when first needed), or any callable
            `(premises, hypotheses) -> (n, 3)` probabilities of contradiction, neutral and entailment, in that order.
        variant: "confidence" as above (section 3.3); "baseline" without the probability (3.1); "neutral" the same with
            +1 for neutral too (3.2).
        definition: what `aggregate` and `split` are where they are not given. "published" is the sum over whole texts;
            "kirk2023" the mean over sentences; "released-code" does as the code of Kirk et al. does, which takes the
            value for a similarity and returns 1 − mean, with a full stop behind every text, so that equal texts score
            3 and **lower is more diverse**; what it calls sentences (`split="sentences"`) are 5 characters of either
            text, whose scores it divides by 5 once too often.
        aggregate: "mean" as above, or "sum" over all pairs and both directions.
        split: "sentences" draws one sentence of each text for every pair, since NLI models know sentences; "texts"
            compares whole texts.
        max_pairs: draw so many pairs of texts where there are more; None takes all n (n − 1) / 2. The default takes
            all pairs of up to 63 texts. `pair_error` says what the draw adds to the error.
        seed: of the draws. The draws for a set depend on it and on the set alone.
        batch_size: pairs per forward pass of a named model.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> def opposites(premises, hypotheses):  # says that different sentences contradict each other
        ...     return [[0.0, 0.2, 0.8] if p == h else [0.9, 0.1, 0.0] for p, h in zip(premises, hypotheses)]
        >>> round(NLIDiversity(opposites)(["It is hot.", "It is hot.", "It is cold."]), 6)  # (−1.6 + 1.8 + 1.8) / 3
        0.666667
    """

    name: ClassVar[str] = "nli"
    min_texts: ClassVar[int] = 2

    def __init__(
        self,
        scorer: str | NLIScorer | SharedScorer = "FacebookAI/roberta-large-mnli",
        *,
        variant: Literal["baseline", "neutral", "confidence"] = "confidence",
        definition: Definition = "kirk2023",
        aggregate: Literal["mean", "sum"] | None = None,
        split: Literal["sentences", "texts"] | None = None,
        max_pairs: int | None = 2000,
        seed: int = 0,
        batch_size: int = 64,
    ) -> None:
        check_definition(definition)
        default_aggregate, default_split = _DEFAULTS[definition]
        self.aggregate = aggregate or default_aggregate
        self.split = split or default_split
        if self.aggregate not in ("mean", "sum"):
            raise ConfigError(f"aggregate is {aggregate!r}; give 'mean' or 'sum'.")
        if self.split not in ("sentences", "texts"):
            raise ConfigError(f"split is {split!r}; give 'sentences' or 'texts'.")
        if variant not in _WEIGHTS:
            raise ConfigError(f"variant is {variant!r}; give 'baseline', 'neutral' or 'confidence'.")
        self.released = definition == "released-code"
        if self.released and (self.aggregate != "mean" or variant != "confidence"):
            raise ConfigError("The released code has the mean and the confidence variant only; leave out the others.")
        check_max_pairs(max_pairs)
        self.scorer = scorer if isinstance(scorer, SharedScorer) else SharedScorer(scorer, batch_size=batch_size)
        self.variant = variant
        self.max_pairs = max_pairs
        self.seed = seed

    @property
    def higher_is_more_diverse(self) -> bool:
        """Whether a higher value means more diverse texts: not so in the released code."""
        return not self.released

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the diversity of every set of texts, scoring the pairs of all of them in one pass, equal ones once."""
        checked = [check_texts(texts, f"set {row}") for row, texts in enumerate(sets)]
        drawn = [self._draw(texts) for texts in checked]
        scores = self._score([pair for pairs in drawn for pair in pairs])
        parts = np.split(scores, np.cumsum([len(pairs) for pairs in drawn])[:-1])
        return [
            self._combine(part, pairs, len(texts)) for part, pairs, texts in zip(parts, drawn, checked, strict=True)
        ]

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, list[float]]:
        """Return the diversity of `texts`, and that without each block of indices, scoring every pair once.

        The pairs drawn for all texts serve all of these, so that they differ by what was left out and not by the draw.
        Sums are scaled to the number of pairs of all texts, so that they do not differ by that number either.
        """
        checked = check_texts(texts, "texts")
        pairs = self._draw(checked)
        scores = self._score(pairs)
        without = []
        for block in map(frozenset, blocks):
            kept = np.array([pair.i not in block and pair.j not in block for pair in pairs], dtype=bool)
            left = [pair for pair, keep in zip(pairs, kept, strict=True) if keep]
            without.append(self._combine(scores[kept], left, len(checked)))
        return self._combine(scores, pairs, len(checked)), without

    def pair_error(self, texts: Sequence[str]) -> float:
        """Return the standard error that drawing `max_pairs` of the pairs adds to the value of `texts`.

        0 where all pairs are taken; otherwise that of a mean of a sample without replacement, s √((1 − m / M) / m) with
        m of M pairs drawn.
        """
        checked = check_texts(texts, "texts")
        total = len(checked) * (len(checked) - 1) // 2
        if self.max_pairs is None or total <= self.max_pairs:
            return 0.0
        scores = self._score(self._draw(checked))
        error = float(scores.std(ddof=1)) * math.sqrt((1 - len(scores) / total) / len(scores))
        return error if self.aggregate == "mean" else error * total

    def _combine(self, scores: np.ndarray, pairs: Sequence[_Pair], n: int) -> float:
        """Return the value of `n` texts from the scores of their pairs."""
        if len(scores) == 0:
            return math.nan
        mean = float(scores.mean())
        if not self.released:
            return mean if self.aggregate == "mean" else mean * n * (n - 1) / 2
        # The released code divides by how many pieces it draws of a pair twice: when it scores, and when it averages.
        draws = len(pairs) / len({(pair.i, pair.j) for pair in pairs})
        return 1 - mean / draws

    def _draw(self, texts: list[str]) -> list[_Pair]:
        draw = random.Random(self.seed)
        if self.released:
            return self._draw_released(texts, draw)
        parts = [sentences(text) if self.split == "sentences" else [text] for text in texts]
        return [
            _Pair(i, j, draw.choice(parts[i]), draw.choice(parts[j]))
            for i, j in draw_pairs(len(texts), self.max_pairs, draw)
        ]

    def _draw_released(self, texts: list[str], draw: random.Random) -> list[_Pair]:
        pairs = []
        for i, j in draw_pairs(len(texts), self.max_pairs, draw):
            first, second = [texts[i]], [texts[j]]
            if self.split == "sentences":
                shorter = min(len(texts[i]), len(texts[j]))
                first = draw.sample(texts[i][:shorter], min(_RELEASED_DRAWS, shorter))
                second = draw.sample(texts[j][:shorter], min(_RELEASED_DRAWS, shorter))
            pairs += [_Pair(i, j, f"{a}.", f"{b}.") for a, b in zip(first, second, strict=True)]
        return pairs

    def _score(self, pairs: Sequence[_Pair]) -> np.ndarray:
        """Return s_ij + s_ji of every pair, (len(pairs),) float64."""
        if not pairs:
            return np.zeros(0)
        directed = [(pair.first, pair.second) for pair in pairs] + [(pair.second, pair.first) for pair in pairs]
        probabilities = self.scorer(directed)
        scores = _WEIGHTS[self.variant][probabilities.argmax(axis=1)]
        if self.variant == "confidence":
            scores = scores * probabilities.max(axis=1)
        both: np.ndarray = scores.reshape(2, len(pairs)).sum(axis=0)
        return both
