"""How often the most frequent of k answers is right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from genrlhf.errors import DataError
from genrlhf.metrics.diversity.classes import Classes, ExactClasses
from genrlhf.metrics.solutions.verdicts import check_k, check_verdicts, share_or_undefined
from genrlhf.types import Estimate

__all__ = ["majority_at_k", "majority_chance"]


def majority_at_k(
    answers: Sequence[Sequence[str | None]],
    verdicts: Sequence[Sequence[bool]],
    k: int,
    *,
    classes: Classes | None = None,
) -> Estimate:
    """Return the mean over inputs of the chance that the most frequent of k answers is right (maj@k).

    Wang et al. 2023, "Self-Consistency Improves Chain of Thought Reasoning in Language Models". It is the exact
    expectation over all sets of k of an input's n outputs, not a draw; where several answers are the most frequent,
    each is taken with the same chance. maj@1 = pass@1.

    Args:
        answers: one list per input, of the answer that each output gives; None where there is none to be found in it,
            which has no vote. A set without any vote is wrong.
        verdicts: whether each output is right. Outputs with the same answer should have the same verdict; otherwise
            the answer counts by the share of them that is right.
        k: how many outputs are drawn, without replacement.
        classes: which answers are the same; by default those with equal characters but for case and outer blanks.

    Returns:
        With the score interval of a mean over inputs; inputs with fewer than k outputs are left out, as in `pass_at_k`.

    Raises:
        DataError: answers and verdicts do not go together.
        ConfigError: k is below 1.

    Example:
        >>> print(f"{majority_at_k([['4', '4', '5']], [[True, True, False]], k=2).value:.3f}")  # (1 + ½ + ½) / 3
        0.667
    """
    check_k(k)
    checked = check_verdicts(verdicts)
    if len(answers) != len(checked):
        raise DataError(f"There are answers of {len(answers)} inputs and verdicts of {len(checked)}; give both of all.")
    values = []
    given = [[text for text in texts if text is not None] for texts in answers]
    labels = iter((classes or ExactClasses())(given))
    for row, (texts, right, found) in enumerate(zip(answers, checked, labels, strict=True)):
        if len(texts) != len(right):
            raise DataError(f"Input {row} has {len(texts)} answer(s) and {len(right)} verdict(s); give one an output.")
        voted = right[[text is not None for text in texts]]
        places = np.unique(np.array(found, dtype=np.int64), return_inverse=True)[1]
        counts = np.bincount(places)
        shares = np.bincount(places, weights=voted) / np.maximum(counts, 1)
        values.append(majority_chance(counts, shares, len(texts), k))
    return share_or_undefined(values)


def majority_chance(counts: np.ndarray, shares: np.ndarray, n: int, k: int) -> float:
    """Return the chance that the most frequent answer of k of n outputs is right.

    For each number v of votes that the most frequent answers of a set can have, the sets are counted answer by answer,
    by how many outputs they have so far and how many answers have v; none has more. In place of C(n_a, u) each answer
    has its share under independent draws, C(n_a, u) p^u (1 − p)^(n_a − u) with p = k/n, whose product has the same
    factor for every set of k: nothing overflows.

    Args:
        counts: (answers,) int64, outputs with each answer.
        shares: (answers,) float64, how right each answer is.
        n: outputs, those without an answer included.
        k: outputs of a set.

    Returns:
        NaN where n is below k.
    """
    if k > n:
        return math.nan
    if not len(counts):
        return 0.0
    if k == n:
        return float(shares[counts == counts.max()].mean())
    table = _Chances(n, k / n)
    without = n - int(counts.sum())
    total = 0.0
    for votes in range(1, min(k, int(counts.max())) + 1):
        sets = np.zeros((k + 1, k // votes + 1))
        sets[: min(without, k) + 1, 0] = table(without)[: k + 1]
        right = np.zeros_like(sets)
        for count, share in zip(counts.tolist(), shares.tolist(), strict=True):
            sets, right = _with_answer(sets, right, table(count), votes, share)
        total += float((right[k, 1:] / np.arange(1, sets.shape[1])).sum())
    return min(1.0, max(0.0, total / float(table(n)[k])))


def _with_answer(
    sets: np.ndarray, right: np.ndarray, chances: np.ndarray, votes: int, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sets with one answer more, and the sum of the shares of the answers at their top, (k + 1, top + 1)."""
    more, more_right = np.zeros_like(sets), np.zeros_like(right)
    for u, chance in enumerate(chances[:votes].tolist()):
        more[u:] += chance * sets[: len(sets) - u]
        more_right[u:] += chance * right[: len(sets) - u]
    if votes < len(chances):
        chance, left = float(chances[votes]), len(sets) - votes
        more[votes:, 1:] += chance * sets[:left, :-1]
        more_right[votes:, 1:] += chance * (right[:left, :-1] + share * sets[:left, :-1])
    return more, more_right


class _Chances:
    """The chances of 0 … m of m outputs, each with chance p."""

    def __init__(self, n: int, p: float) -> None:
        self.logs = np.array([math.lgamma(i + 1) for i in range(n + 1)])
        self.yes, self.no = math.log(p), math.log1p(-p)

    def __call__(self, m: int) -> np.ndarray:
        u = np.arange(m + 1)
        found: np.ndarray = np.exp(self.logs[m] - self.logs[u] - self.logs[m - u] + u * self.yes + (m - u) * self.no)
        return found
