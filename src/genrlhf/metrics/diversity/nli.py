"""Diversity of what texts say: do they contradict or entail each other?"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from genrlhf.errors import ConfigError
from genrlhf.metrics.diversity.definitions import Definition, check_definition
from genrlhf.metrics.diversity.nli_scorer import NLIScorer, SharedScorer
from genrlhf.metrics.diversity.pairs import check_max_pairs
from genrlhf.metrics.diversity.pairwise import Drawn, PairwiseMetric, split_by
from genrlhf.text import sentences

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


class NLIDiversity(PairwiseMetric):
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

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` have a part that the classifier did not see the end of."""
        if not self.scorer.cuts:
            return {}
        return Counter(reason for text in texts for reason in self.scorer.remarks(self._parts(text)))

    def score_pairs(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        """Return s_ij + s_ji of every pair, as premise and hypothesis both ways round, (pairs,) float64."""
        probabilities = self.scorer([*pairs, *((b, a) for a, b in pairs)])
        scores = _WEIGHTS[self.variant][probabilities.argmax(axis=1)]
        if self.variant == "confidence":
            scores = scores * probabilities.max(axis=1)
        both: np.ndarray = scores.reshape(2, len(pairs)).sum(axis=0)
        return both

    def _value(self, mean: float, size: int) -> float:
        if self.released:
            return 1 - mean
        # A sum is that of all pairs, drawn or not.
        return mean if self.aggregate == "mean" else mean * size * (size - 1) / 2

    def _score_sets(self, drawn: Sequence[Drawn]) -> list[np.ndarray]:
        texts = dict.fromkeys(text for each in drawn for text in each.texts)
        parts = {text: self._parts(text) for text in texts}
        pieces = [[self._pieces(parts[a], parts[b], each.draw) for a, b in each.pairs] for each in drawn]
        flat = [piece for of_set in pieces for of_pair in of_set for piece in of_pair]
        counts = np.array([len(of_pair) for of_set in pieces for of_pair in of_set], dtype=np.int64)
        sums = np.bincount(np.repeat(np.arange(len(counts)), counts), self._scores(flat), minlength=len(counts))
        sizes = [len(each.places) for each in drawn]
        # The released code divides twice by how many pieces it draws of a pair: when it scores, and when it averages.
        drawn_of_each = [of_set.mean() if of_set.any() else math.nan for of_set in split_by(counts, sizes)]
        return [of_set / each**2 for of_set, each in zip(split_by(sums, sizes), drawn_of_each, strict=True)]

    def _parts(self, text: str) -> Sequence[str]:
        """Return what of a text may be drawn: itself, its sentences, or what the released code takes for these."""
        if self.split == "texts":
            return [text]
        return text if self.released else sentences(text)

    def _pieces(self, first: Sequence[str], second: Sequence[str], draw: random.Random) -> list[tuple[str, str]]:
        """Return what of two texts is compared."""
        if not self.released:
            return [(draw.choice(first), draw.choice(second))]
        shorter = min(len(first), len(second))
        drawn = [draw.sample(parts[:shorter], min(_RELEASED_DRAWS, shorter)) for parts in (first, second)]
        return [(f"{a}.", f"{b}.") for a, b in zip(*drawn, strict=True)]
