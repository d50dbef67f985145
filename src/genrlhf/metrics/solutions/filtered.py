"""Diversity that counts right outputs only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from genrlhf.errors import ConfigError
from genrlhf.metrics.diversity.classes import Classes
from genrlhf.metrics.diversity.evaluation import Undefined
from genrlhf.metrics.diversity.levels import evaluate_outputs
from genrlhf.metrics.diversity.set_metric import as_set_metric
from genrlhf.metrics.estimate import proportion_estimate
from genrlhf.metrics.solutions.verdicts import class_counts, share_or_undefined, texts_and_verdicts
from genrlhf.types import DiversityMetric, Estimate

__all__ = ["FilteredDiversity", "effective_semantic_diversity", "quality_filtered_diversity"]


@dataclass(frozen=True)
class FilteredDiversity:
    """The diversity of right outputs, and how many inputs it speaks of.

    Attributes:
        diversity: over the inputs that have enough right outputs; None where none has.
        coverage: the share of inputs that have. A model with a higher diversity of fewer inputs is not more diverse.
        left_out: inputs that have not.
        mean_right: right outputs of an input that is measured, on average; many metrics depend on their number.
    """

    diversity: Estimate | None
    coverage: Estimate
    left_out: int
    mean_right: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: that of the diversity, with the others beside it."""
        figure = Undefined("no input has enough right outputs") if self.diversity is None else self.diversity
        right = None if math.isnan(self.mean_right) else self.mean_right
        return {
            **figure.to_dict(),
            "coverage": self.coverage.to_dict(),
            "left_out": self.left_out,
            "mean_right": right,
        }


def quality_filtered_diversity(
    outputs: Sequence[Sequence[str]],
    verdicts: Sequence[Sequence[bool]],
    metric: DiversityMetric,
    *,
    at_least: int = 2,
    take: int | None = None,
) -> FilteredDiversity:
    """Return the mean over inputs of the diversity of those outputs that are right, D(y_i : v_i).

    Noise is diverse; this asks only for the diversity among outputs that pass a verifier, a judge, or a threshold of a
    reward (see `verdicts_from_scores`).

    Args:
        outputs: one list per input.
        verdicts: whether each output is right.
        metric: D, any metric of `genrlhf.metrics`.
        at_least: K_c, right outputs that an input must have to be measured, at least 2; the others are counted and left
            out.
        take: take only the first so many right outputs of every input, so that all sets are of one size, which most
            metrics depend on; it is `at_least` too then.

    Raises:
        DataError: outputs and verdicts do not go together.
        ConfigError: `at_least` is below 2, which leaves nothing to differ.

    Example:
        >>> from genrlhf.metrics import DistinctN
        >>> found = quality_filtered_diversity([["a b", "a b", "c"], ["a", "b", "c"]],
        ...     [[True, True, False], [True, False, False]], DistinctN(1))
        >>> found.diversity.value, found.coverage.value, found.left_out
        (0.5, 0.5, 1)
    """
    least = at_least if take is None else take
    if least < 2:
        raise ConfigError(f"{'at_least' if take is None else 'take'} is {least}; diversity needs at least 2 outputs.")
    measure = as_set_metric(metric)
    least = max(least, measure.min_texts)
    texts, checked = texts_and_verdicts(outputs, verdicts)
    right = [[text for text, good in zip(*each, strict=True) if good] for each in zip(texts, checked, strict=True)]
    kept = [each[:take] for each in right if len(each) >= least]
    coverage = proportion_estimate([float(len(each) >= least) for each in right])
    found = evaluate_outputs(kept, measure, "per_input").figure("per_input", "metric") if kept else None
    return FilteredDiversity(
        diversity=found if isinstance(found, Estimate) else None,
        coverage=coverage,
        left_out=len(right) - len(kept),
        mean_right=float(np.mean([len(each) for each in kept])) if kept else math.nan,
    )


def effective_semantic_diversity(
    outputs: Sequence[Sequence[str]],
    verdicts: Sequence[Sequence[bool]],
    *,
    kind: Literal["pairs", "fixed"] = "pairs",
    classes: Classes | None = None,
    metric: DiversityMetric | None = None,
) -> Estimate:
    """Return the mean over inputs of how many outputs, or pairs of them, are right and say something of their own.

    With K outputs of an input, v_i whether output i is right and s_i what it says::

        pairs:  2 / (K (K − 1)) Σ_{i<j} v_i v_j d(i, j),    d(i, j) = [s_i ≠ s_j]
        fixed:  1 / K |{s_i : v_i}|

    After Shypula et al. 2025, "Evaluating the Diversity and Quality of LLM Generated Content". All K outputs are in the
    denominator: being wrong costs what being a repeat costs. "pairs" is the unbiased estimate of the chance that two
    outputs are both right and differ, whatever K is; "fixed" (the `valid_yield`) falls with K. Here a pair with a wrong
    output counts 0, whether one of the two is wrong or both.

    Args:
        outputs: one list per input.
        verdicts: whether each output is right.
        kind: which of the two.
        classes: what makes s_i equal, such as `EntailmentClasses` or `EmbeddingClasses`; by default equal characters
            but for case and outer blanks.
        metric: of "pairs", in place of classes: a metric between 0 and 1 that is a mean of d over pairs, such as
            `SentenceBERT`; with m right outputs the value is D(right outputs) m (m − 1) / (K (K − 1)).

    Returns:
        In [0, 1], with the score interval of a mean over inputs; for "pairs" inputs with one output are left out.

    Raises:
        DataError: outputs and verdicts do not go together.
        ConfigError: `kind` is neither, or `metric` goes with "fixed" or classes.

    Example:
        >>> found = effective_semantic_diversity([["Ohio", "Texas", "ohio", "Paris"]], [[True, True, True, False]])
        >>> print(f"{found.value:.4f}")  # 2 of 6 pairs
        0.3333
    """
    if kind not in ("pairs", "fixed"):
        raise ConfigError(f"kind is {kind!r}; give 'pairs' or 'fixed'.")
    if metric is not None and (kind == "fixed" or classes is not None):
        raise ConfigError("metric measures pairs in place of classes; give kind='pairs' and no classes with it.")
    if metric is not None:
        return share_or_undefined(_of_pairs(outputs, verdicts, metric))
    counts, sizes = class_counts(outputs, verdicts, classes)
    if kind == "fixed":
        return share_or_undefined([len(each) / n for each, n in zip(counts, sizes.tolist(), strict=True)])
    return share_or_undefined(
        [
            (float(each.sum()) ** 2 - float((each**2).sum())) / (n * (n - 1)) if n > 1 else math.nan
            for each, n in zip(counts, sizes.tolist(), strict=True)
        ]
    )


def _of_pairs(outputs: Any, verdicts: Any, metric: DiversityMetric) -> np.ndarray:
    texts, checked = texts_and_verdicts(outputs, verdicts)
    right = [[text for text, good in zip(*each, strict=True) if good] for each in zip(texts, checked, strict=True)]
    sets = [each for each in right if len(each) > 1]
    found = iter(as_set_metric(metric).values(sets).tolist() if sets else [])
    values = []
    for each, of_input in zip(right, texts, strict=True):
        m, n = len(each), len(of_input)
        # Cosines that are below 0 make a distance above 1, and rounding one below 0.
        distance = min(1.0, max(0.0, next(found))) if m > 1 else 0.0
        values.append(math.nan if n < 2 else distance * m * (m - 1) / (n * (n - 1)))
    return np.array(values)
