"""How many different things texts say: measures over classes of equal meaning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.metrics.diversity.classes import Classes
from genrlhf.metrics.diversity.set_metric import SetMetric
from genrlhf.types import HasRemarks

__all__ = ["DistinctK", "LikelihoodEntropy", "SemanticEntropy", "UtilityK"]


class _OverClasses(SetMetric):
    """A measure of the classes that texts are in."""

    def __init__(self, classes: Classes | None = None) -> None:
        if classes is None:
            raise ConfigError(
                f"{type(self).__name__} counts classes of the same meaning, and must be told what makes them: give "
                "classes=EntailmentClasses(…), EmbeddingClasses(…), JudgedClasses(…), or ExactClasses() where equal "
                "strings are meant."
            )
        self.classes = classes

    def _numbered(self, sets: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the class of every text of every set, numbered from 0 in the order of their first texts.

        Raises:
            ModelError: there is not one class a text.
        """
        found = list(self.classes(sets))
        if len(found) != len(sets) or any(len(a) != len(b) for a, b in zip(found, sets, strict=False)):
            raise ModelError(
                f"classes of {self.name} put {len(sets)} sets of {[len(texts) for texts in sets][:5]}… texts into "
                f"{len(found)} of {[len(labels) for labels in found][:5]}…; return a class for every text."
            )
        numbered = []
        for labels in found:
            numbers: dict[Any, int] = {}
            numbered.append(np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64))
        return numbered

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` what makes the classes saw a part only of."""
        return self.classes.remarks(texts) if isinstance(self.classes, HasRemarks) else {}


class DistinctK(_OverClasses):
    """The number of classes among K texts.

    Zhang et al. 2025, "NoveltyBench" (distinct_k). In [1, K], higher is more diverse; it grows with K. NaN for none.

    Args:
        classes: which texts say the same, such as `EntailmentClasses`; `ExactClasses` where equal strings are meant.

    Example:
        >>> from genrlhf.metrics import ExactClasses
        >>> DistinctK(ExactClasses())(["yes", "no", "Yes"])
        2.0
    """

    name: ClassVar[str] = "distinct_k"
    higher_is_more_diverse: ClassVar[bool] = True

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the number of classes of every set of texts."""
        return [float(found.max() + 1) if len(found) else math.nan for found in self._numbered(sets)]


class SemanticEntropy(_OverClasses):
    """The entropy of the classes of texts: −Σ_c p_c log p_c, with p_c the share of the texts in class c.

    Kuhn, Gal & Farquhar 2023, "Semantic Uncertainty"; with shares in place of probabilities, Farquhar et al. 2024,
    "Detecting hallucinations in large language models using semantic entropy" (discrete semantic entropy). In nats, in
    [0, log K], higher is more diverse. NaN for no texts.

    Args:
        classes: which texts say the same, such as `EntailmentClasses`; `ExactClasses` where equal strings are meant.

    Example:
        >>> from genrlhf.metrics import ExactClasses
        >>> round(SemanticEntropy(ExactClasses())(["yes", "no", "Yes", "no"]), 6)  # log 2
        0.693147
    """

    name: ClassVar[str] = "semantic_entropy"
    higher_is_more_diverse: ClassVar[bool] = True

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the entropy of every set of texts."""
        return [_entropy(np.bincount(found)) if len(found) else math.nan for found in self._numbered(sets)]


class LikelihoodEntropy(_OverClasses):
    """Semantic entropy from the probabilities of the texts in place of their shares.

    With p(s) the probability of text s, the product of those of its tokens, and the classes c of the K texts::

        P(c) = Σ_{s in c} p(s) / Σ_s p(s),    H = −Σ_c P(c) log P(c)

    Kuhn, Gal & Farquhar 2023, "Semantic Uncertainty", equations 4 and 5, with the sum over classes taken as it stands
    (Rao-Blackwellised) as Farquhar et al. 2024, "Detecting hallucinations in large language models using semantic
    entropy", have it. In nats, in [0, log K], higher is more diverse. It is defined for the outputs of one input alone,
    and the log-probabilities of their tokens must be known. NaN for no texts.

    Args:
        classes: which texts say the same, such as `EntailmentClasses`; `ExactClasses` where equal strings are meant.
        by_token: take p(s) to the power of 1 over the number of tokens, as the latter's code does, so that long texts
            do not count nothing.

    Example:
        >>> from genrlhf.metrics import ExactClasses
        >>> half = [[-0.6931471805599453], [-0.6931471805599453]]
        >>> round(LikelihoodEntropy(ExactClasses()).batch_with_logprobs([["yes", "no"]], [half])[0], 6)  # log 2
        0.693147
    """

    name: ClassVar[str] = "likelihood_entropy"
    higher_is_more_diverse: ClassVar[bool] = True

    def __init__(self, classes: Classes | None = None, *, by_token: bool = False) -> None:
        super().__init__(classes)
        self.by_token = by_token

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Raise `ConfigError`: texts alone do not say how likely they were."""
        raise ConfigError(
            f"{self.name} needs the log-probabilities of outputs: give logprobs= to per_input_diversity, or a file "
            "whose rows have them (`genrlhf sample --logprobs`)."
        )

    def batch_with_logprobs(
        self, sets: Sequence[Sequence[str]], logprobs: Sequence[Sequence[Sequence[float]]]
    ) -> list[float]:
        """Return the entropy of every set of texts."""
        return [
            self._entropy(found, [np.asarray(tokens, dtype=np.float64) for tokens in of_set])
            for found, of_set in zip(self._numbered(sets), logprobs, strict=True)
        ]

    def _entropy(self, classes: np.ndarray, logprobs: list[np.ndarray]) -> float:
        if not len(classes):
            return math.nan
        logs = np.array([tokens.sum() / (max(1, len(tokens)) if self.by_token else 1) for tokens in logprobs])
        # Relative to the likeliest text: p(s) itself is 0 in floating point.
        return _entropy(np.bincount(classes, np.exp(logs - logs.max())))


class UtilityK(_OverClasses):
    """What a user gains who reads K texts in their order and goes on with probability p after each.

    With u_i the utility of text i, counted where no earlier text is of its class::

        U = (1 − p) / (1 − p^K) Σ_i p^(i − 1) [text i is new] u_i

    Zhang et al. 2025, "NoveltyBench" (utility_k; p = 0.8, and utilities from 1 to 10 by a reward model). Between 0 and
    the largest utility, higher is better; it depends on the order of the texts. NaN for none.

    Args:
        classes: which texts say the same, such as `EntailmentClasses`; `ExactClasses` where equal strings are meant.
        utility: `texts -> numbers`, one a text; 1 each by default, which makes U the discounted share of new texts.
        patience: p, in (0, 1).

    Raises:
        ConfigError: for a patience that is no such probability.

    Example:
        >>> from genrlhf.metrics import ExactClasses
        >>> round(UtilityK(ExactClasses(), patience=0.5)(["yes", "yes", "no"]), 6)  # (1 + 0 + 1/4) / (1 + 1/2 + 1/4)
        0.714286
    """

    name: ClassVar[str] = "utility_k"
    higher_is_more_diverse: ClassVar[bool] = True

    def __init__(
        self,
        classes: Classes | None = None,
        *,
        utility: Callable[[list[str]], Sequence[float]] | None = None,
        patience: float = 0.8,
    ) -> None:
        if not 0 < patience < 1:
            raise ConfigError(f"patience is {patience}; give a probability above 0 and below 1, such as 0.8.")
        super().__init__(classes)
        self.utility = utility
        self.patience = patience

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the largest value that there can be, where they are known."""
        return (0.0, 1.0) if self.utility is None else None

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the utility of every set of texts."""
        return [
            self._discounted(list(texts), found) if len(found) else math.nan
            for texts, found in zip(sets, self._numbered(sets), strict=True)
        ]

    def _discounted(self, texts: list[str], classes: np.ndarray) -> float:
        utility = np.ones(len(texts))
        if self.utility is not None:
            utility = np.asarray(self.utility(texts), dtype=np.float64)
            if utility.shape != (len(texts),) or not np.isfinite(utility).all():
                raise DataError(f"utility must return {len(texts)} finite numbers, one a text.")
        new = np.diff(np.maximum.accumulate(classes), prepend=-1) > 0
        return float(np.average(new * utility, weights=self.patience ** np.arange(len(texts))))


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(abs((shares * np.log(shares)).sum()))  # not −0 for a single class
