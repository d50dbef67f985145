"""What pairs of sentences get from a classifier, every pair once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from genrlhf.errors import ModelError, excerpt
from genrlhf.metrics.checks import for_encoder
from genrlhf.metrics.diversity.nli_model import NLI_CLASSES, NLIModel

__all__ = ["NLIScorer", "SharedScorer"]

NLIScorer: TypeAlias = Callable[[list[str], list[str]], Any]
"""`(premises, hypotheses) -> probabilities`, an array (n, 3): contradiction, neutral, entailment."""

_REMEMBERED = 500_000
"""Pairs whose probabilities are kept."""


class SharedScorer:
    """Probabilities of pairs from a classifier that sees every pair once, whichever metrics ask for it.

    Args:
        scorer: as of `NLIDiversity`.
        batch_size: pairs per forward pass of a named model.
    """

    def __init__(self, scorer: str | NLIScorer = "FacebookAI/roberta-large-mnli", *, batch_size: int = 64) -> None:
        self.scorer = scorer
        self.batch_size = batch_size
        self._remembered: dict[tuple[str, str], np.ndarray] = {}

    @property
    def cuts(self) -> bool:
        """Whether the classifier saw a part only of any text."""
        return isinstance(self.scorer, NLIModel) and bool(self.scorer.cut)

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts`, each of them one side of pairs that were scored, the classifier saw a part of."""
        if not isinstance(self.scorer, NLIModel):
            return {}
        return self.scorer.remarks([for_encoder(text) for text in texts])

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the probabilities of (premise, hypothesis) pairs, (n, 3) float64 in the order of `NLI_CLASSES`.

        Raises:
            ModelError: the classifier cannot be loaded, or returns no probabilities.
        """
        pairs = [(for_encoder(premise), for_encoder(hypothesis)) for premise, hypothesis in pairs]
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._remembered]
        if len(self._remembered) + len(missing) > _REMEMBERED:
            self._remembered.clear()
            missing = list(dict.fromkeys(pairs))
        if missing:
            if isinstance(self.scorer, str):
                self.scorer = NLIModel(self.scorer, batch_size=self.batch_size)
            premises, hypotheses = (list(side) for side in zip(*missing, strict=True))
            self._remembered |= zip(missing, _check(self.scorer(premises, hypotheses), missing), strict=True)
        return np.stack([self._remembered[pair] for pair in pairs])


def _check(returned: Any, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    probabilities = np.asarray(returned, dtype=np.float64)
    if probabilities.shape != (len(pairs), len(NLI_CLASSES)):
        raise ModelError(
            f"The scorer returned an array of shape {probabilities.shape} for {len(pairs)} pairs; it must return "
            f"({len(pairs)}, 3): the probabilities of contradiction, neutral and entailment."
        )
    right = (probabilities >= 0).all(axis=1) & (abs(probabilities.sum(axis=1) - 1) < 1e-3)
    if not right.all():
        row = int(np.argmin(right))
        raise ModelError(
            f"The scorer returned {probabilities[row].tolist()} for premise {excerpt(pairs[row][0])} and hypothesis "
            f"{excerpt(pairs[row][1])}; these must be probabilities that add up to 1 (a softmax of the logits)."
        )
    return probabilities
