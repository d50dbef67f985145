"""Which outputs are right: one verdict an output, and what is done with inputs that have too few."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.metrics.checks import check_outputs
from genrlhf.metrics.diversity.classes import Classes, ExactClasses
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.types import Estimate

__all__ = [
    "check_k",
    "check_verdicts",
    "class_counts",
    "mean_or_undefined",
    "right_and_all",
    "share_or_undefined",
    "texts_and_verdicts",
    "verdicts_from_scores",
]


def check_verdicts(verdicts: Any) -> list[np.ndarray]:
    """Return the verdicts of every input, (outputs,) bool.

    Args:
        verdicts: one list of booleans (or of numbers 0 and 1) per input.

    Raises:
        DataError: naming the input, counted from 0, that has none, or one that is neither right nor wrong.
    """
    if isinstance(verdicts, (str, bytes, Mapping)) or not isinstance(verdicts, Iterable):
        raise DataError(f"verdicts is {excerpt(verdicts)}; give a list with one list of booleans per input.")
    checked = []
    for row, given in enumerate(verdicts):
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
            raise DataError(f"verdicts, input {row} is {excerpt(given)}; give a list of booleans, one an output.")
        listed = list(given)
        for place, verdict in enumerate(listed):
            if not isinstance(verdict, (bool, int, float, np.bool_, np.number)) or verdict not in (0, 1):
                raise DataError(
                    f"verdicts, input {row}, output {place} is {excerpt(verdict)}; give True or False (1 or 0). Scores "
                    "become verdicts by a threshold: verdicts_from_scores(scores, at_least=...)."
                )
        if not listed:
            raise DataError(f"verdicts, input {row} has none; give those of its outputs, or drop the input.")
        checked.append(np.array(listed, dtype=bool))
    if not checked:
        raise DataError("verdicts is empty; give those of at least one input.")
    return checked


def verdicts_from_scores(scores: Sequence[Sequence[float]], at_least: float) -> list[list[bool]]:
    """Return which outputs score at least so much; a score that is NaN does not pass.

    Args:
        scores: one list of numbers per input, of a reward or a judge.
        at_least: the threshold.

    Example:
        >>> verdicts_from_scores([[0.2, 0.9], [0.5]], at_least=0.5)
        [[False, True], [True]]
    """
    return [[bool(score >= at_least) for score in given] for given in scores]


def right_and_all(verdicts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return how many outputs of every input are right, and how many there are, both (inputs,) int64."""
    checked = check_verdicts(verdicts)
    return np.array([each.sum() for each in checked]), np.array([len(each) for each in checked])


def check_k(k: int, name: str = "k") -> int:
    """Return k, or raise `ConfigError` unless it is a whole number of at least 1."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ConfigError(f"{name} is {k!r}; give a whole number of at least 1.")
    return int(k)


def texts_and_verdicts(outputs: Any, verdicts: Any) -> tuple[list[list[str]], list[np.ndarray]]:
    """Return outputs and verdicts of the same inputs.

    Raises:
        DataError: they do not go together.
    """
    texts, checked = check_outputs(outputs), check_verdicts(verdicts)
    if len(texts) != len(checked):
        raise DataError(f"There are outputs of {len(texts)} inputs and verdicts of {len(checked)}; give both of all.")
    for row, (given, right) in enumerate(zip(texts, checked, strict=True)):
        if len(given) != len(right):
            raise DataError(f"Input {row} has {len(given)} output(s) and {len(right)} verdict(s); give one an output.")
    return texts, checked


def class_counts(outputs: Any, verdicts: Any, classes: Classes | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Return how often every input has each of its different right answers, and its number of outputs, (inputs,) int64.

    Args:
        outputs: one list of outputs per input.
        verdicts: of the outputs.
        classes: which texts are the same answer; None for those with equal characters but for case and outer blanks.
    """
    texts, checked = texts_and_verdicts(outputs, verdicts)
    right = [[text for text, good in zip(*each, strict=True) if good] for each in zip(texts, checked, strict=True)]
    labels = (classes or ExactClasses())(right)
    counts = [np.unique(np.array(each, dtype=np.int64), return_counts=True)[1] for each in labels]
    return counts, np.array([len(each) for each in texts])


def share_or_undefined(values: ArrayLike) -> Estimate:
    """Return `proportion_estimate`, or NaN with an `n` of 0 where no input has a value."""
    return _or_undefined(values, proportion_estimate)


def mean_or_undefined(values: ArrayLike, bounds: tuple[float, float] | None) -> Estimate:
    """Return `mean_estimate` between bounds, or NaN with an `n` of 0 where no input has a value."""
    return _or_undefined(values, lambda given: mean_estimate(given, bounds=bounds))


def _or_undefined(values: ArrayLike, estimate: Callable[[np.ndarray], Estimate]) -> Estimate:
    given = np.asarray(values, dtype=np.float64)
    if np.isnan(given).all():
        return Estimate(math.nan, math.nan, (math.nan, math.nan), 0, given[:0])
    return estimate(given)
