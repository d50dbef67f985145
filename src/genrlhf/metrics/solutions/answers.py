"""How many right answers there are, how different they are, and how evenly they are spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.diversity.classes import Classes
from genrlhf.metrics.solutions.passing import none_of_k
from genrlhf.metrics.solutions.verdicts import (
    check_k,
    class_counts,
    mean_or_undefined,
    right_and_all,
    share_or_undefined,
)
from genrlhf.types import Estimate

__all__ = [
    "answer_coverage",
    "distinct_valid",
    "effective_answers",
    "kl_to_uniform",
    "valid_share",
    "valid_yield",
]

Outputs = Sequence[Sequence[str]]
Verdicts = Sequence[Sequence[bool]]


def valid_share(verdicts: Verdicts) -> Estimate:
    """Return the mean over inputs of the share of outputs that are right, c / n, which is pass@1.

    Args:
        verdicts: one list per input, of booleans, one an output.

    Returns:
        With the score interval of a mean over inputs. Of one input alone the outputs are the units:
        `proportion_estimate(verdicts[0])`.

    Example:
        >>> print(valid_share([[True, False], [True, True]]).value)
        0.75
    """
    right, count = right_and_all(verdicts)
    return share_or_undefined(right / count)


def distinct_valid(
    outputs: Outputs, verdicts: Verdicts, *, k: int | None = None, classes: Classes | None = None
) -> Estimate:
    """Return the mean over inputs of the number of different right answers, of all outputs or of k of them.

    It grows with the number of outputs, so compare at an equal one. With n_a of the n outputs giving right answer a,
    the expectation over all sets of k outputs is exact (rarefaction; Hurlbert 1971, "The Nonconcept of Species
    Diversity", equation 14)::

        D_k = Σ_a 1 − C(n − n_a, k) / C(n, k)

    Args:
        outputs: one list per input.
        verdicts: whether each output is right.
        k: outputs that are drawn; None takes all of every input.
        classes: which texts are the same answer; by default those with equal characters but for case and outer blanks.

    Returns:
        Between 0 and k. Inputs with fewer than k outputs are left out, and `n` counts the others.

    Raises:
        DataError: outputs and verdicts do not go together.
        ConfigError: k is below 1.

    Example:
        >>> print(distinct_valid([["Ohio", "ohio", "Texas", "Paris"]], [[True, True, True, False]]).value)
        2.0
    """
    values, sizes = _distinct(outputs, verdicts, k, classes)
    return mean_or_undefined(values, (0.0, float(sizes.max())))


def valid_yield(
    outputs: Outputs, verdicts: Verdicts, *, k: int | None = None, classes: Classes | None = None
) -> Estimate:
    """Return the mean over inputs of different right answers per output that is drawn, D_k / k of `distinct_valid`.

    Args:
        outputs: as of `distinct_valid`, and so are all others.
        verdicts: whether each output is right.
        k: outputs that are drawn; None takes all of every input.
        classes: which texts are the same answer.

    Returns:
        In [0, 1], with the score interval of a mean over inputs.

    Example:
        >>> print(valid_yield([["Ohio", "ohio", "Texas", "Paris"]], [[True, True, True, False]]).value)
        0.5
    """
    values, sizes = _distinct(outputs, verdicts, k, classes)
    return share_or_undefined(values / sizes)


def answer_coverage(
    outputs: Outputs, verdicts: Verdicts, size: int | Sequence[int], *, classes: Classes | None = None
) -> Estimate:
    """Return the mean over inputs of the share of a finite set of right answers that the outputs give.

    Args:
        outputs: one list per input.
        verdicts: whether each output is right.
        size: how many right answers there are, of all inputs or of each.
        classes: which texts are the same answer (see `distinct_valid`).

    Raises:
        DataError: an input has more different right answers than there are.

    Example:
        >>> print(answer_coverage([["Ohio", "Texas", "Paris"]], [[True, True, False]], size=50).value)
        0.04
    """
    counts, _ = class_counts(outputs, verdicts, classes)
    sizes = _sizes(size, counts)
    return share_or_undefined([len(each) / full for each, full in zip(counts, sizes, strict=True)])


def effective_answers(
    outputs: Outputs,
    verdicts: Verdicts,
    *,
    correction: Literal["miller_madow"] | None = None,
    rarefy_to: int | None = None,
    classes: Classes | None = None,
) -> Estimate:
    """Return the mean over inputs of exp(H), H = −Σ_a p_a log p_a the entropy of the right answers.

    It is the number of equally frequent answers with that entropy (Hill 1973, "Diversity and Evenness", order 1). The
    entropy of shares that were counted is too low, by about (A − 1) / 2m with A answers among m right outputs, so that
    exp(H) grows with m. Two ways to say so less:

    - "miller_madow" adds that much to H (Miller 1955, "Note on the Bias of Information Estimates"), with the answers
      that were seen for A; too little where many were not;
    - `rarefy_to` takes H as it is expected of so many of the right outputs, for every input and model the same number:
      biased, and alike. The expectation over all sets of them is exact.

    Args:
        outputs: one list per input.
        verdicts: whether each output is right.
        correction: of the bias.
        rarefy_to: right outputs of an input that count.
        classes: which texts are the same answer (see `distinct_valid`).

    Returns:
        Inputs without a right output, or with fewer than `rarefy_to`, are left out, and `n` counts the others.

    Raises:
        ConfigError: both ways at once.

    Example:
        >>> print(effective_answers([["Ohio", "Texas", "Paris"]], [[True, True, False]]).value)
        2.0
    """
    if correction not in (None, "miller_madow"):
        raise ConfigError(f"correction is {correction!r}; give 'miller_madow' or None.")
    if correction is not None and rarefy_to is not None:
        raise ConfigError("Give a correction or rarefy_to, not both: what is rarefied is compared at an equal bias.")
    entropy = _entropy
    if correction is not None:
        entropy = _miller_madow
    if rarefy_to is not None:
        size = check_k(rarefy_to, "rarefy_to")
        entropy = lambda counts: _rarefied_entropy(counts, size)  # noqa: E731
    counts, _ = class_counts(outputs, verdicts, classes)
    values = np.exp([entropy(each) if len(each) else math.nan for each in counts])
    # Miller and Madow's term takes it above the number of right outputs, but never above e^½ times it.
    most = max([1, *(int(each.sum()) for each in counts)]) if rarefy_to is None else rarefy_to
    scale = math.exp(0.5) if correction is not None else 1.0
    return mean_or_undefined(np.minimum(values, most * scale), (1.0, max(most * scale, 1.0 + 1e-6)))


def kl_to_uniform(
    outputs: Outputs, verdicts: Verdicts, size: int | Sequence[int], *, classes: Classes | None = None
) -> Estimate:
    """Return the mean over inputs of KL(p ‖ uniform) = log S − H, in nats, of right answers to the S that there are.

    0 where all answers are equally frequent, log S where it is always the same one. The bias of H (see
    `effective_answers`) makes it too high, by about (S − 1) / 2m with m right outputs where all answers occur.

    Args:
        outputs: one list per input.
        verdicts: whether each output is right.
        size: S, of all inputs or of each.
        classes: which texts are the same answer (see `distinct_valid`).

    Returns:
        Inputs without a right output are left out.

    Raises:
        DataError: an input has more different right answers than there are.

    Example:
        >>> print(f"{kl_to_uniform([['Ohio', 'Texas']], [[True, True]], size=4).value:.4f}")  # log 4 − log 2
        0.6931
    """
    counts, _ = class_counts(outputs, verdicts, classes)
    sizes = _sizes(size, counts)
    values = [
        max(0.0, math.log(full) - _entropy(each)) if len(each) else math.nan
        for each, full in zip(counts, sizes, strict=True)
    ]
    return mean_or_undefined(values, (0.0, max(math.log(max(sizes)), 1e-6)))


def _distinct(
    outputs: Outputs, verdicts: Verdicts, k: int | None, classes: Classes | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return D_k of every input and the number of outputs it is of, both (inputs,) float64."""
    counts, sizes = class_counts(outputs, verdicts, classes)
    if k is None:
        return np.array([float(len(each)) for each in counts]), sizes
    check_k(k)
    values = [
        math.nan if k > n else sum(1 - none_of_k(n, int(count), k) for count in each)
        for each, n in zip(counts, sizes.tolist(), strict=True)
    ]
    return np.array(values, dtype=np.float64), np.full(len(sizes), k)


def _sizes(size: int | Sequence[int], counts: Sequence[np.ndarray]) -> list[int]:
    sizes = [size] * len(counts) if isinstance(size, (int, np.integer)) else list(size)
    if len(sizes) != len(counts):
        raise DataError(
            f"size has {len(sizes)} numbers, and there are {len(counts)} inputs; give one, or one for each."
        )
    for row, (full, each) in enumerate(zip(sizes, counts, strict=True)):
        if check_k(full, "size") < len(each):
            raise DataError(
                f"Input {row} has {len(each)} different right answers, more than the {full} that there are; give "
                "classes that know which texts are one answer, or the size of the set."
            )
    return [int(full) for full in sizes]


def _entropy(counts: np.ndarray) -> float:
    shares = counts / counts.sum()
    return float(abs((shares * np.log(shares)).sum()))  # not −0 for a single answer


def _miller_madow(counts: np.ndarray) -> float:
    return _entropy(counts) + (len(counts) - 1) / (2 * float(counts.sum()))


def _rarefied_entropy(counts: np.ndarray, m: int) -> float:
    """Return the expected entropy of m outputs, drawn without replacement; NaN where there are fewer.

    That of a sum of terms −(j/m) log(j/m), with answer a in j of them with the hypergeometric chance.
    """
    total = int(counts.sum())
    if m > total:
        return math.nan
    log_factorial: Callable[[np.ndarray], np.ndarray] = np.vectorize(lambda x: math.lgamma(x + 1), otypes=[float])
    sets = math.lgamma(total + 1) - math.lgamma(m + 1) - math.lgamma(total - m + 1)
    entropy = 0.0
    sizes, times = np.unique(counts, return_counts=True)
    for count, often in zip(sizes.tolist(), times.tolist(), strict=True):
        j = np.arange(max(1, m - (total - count)), min(count, m) + 1)
        rest = total - count
        logs = math.lgamma(count + 1) - log_factorial(j) - log_factorial(count - j) + math.lgamma(rest + 1)
        logs -= log_factorial(m - j) + log_factorial(rest - m + j) + sets
        entropy += often * float((np.exp(logs) * -(j / m) * np.log(j / m)).sum())
    return abs(entropy)
