"""Two models on the same inputs: is one more diverse?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.checks import check_outputs
from genrlhf.metrics.diversity.levels import (
    draw_one_of_each,
    least_texts,
    leave_out_inputs,
    metric_name,
    values_of_sets,
)
from genrlhf.metrics.estimate import bootstrap_estimate
from genrlhf.types import DiversityMetric, Estimate

__all__ = ["DiversityComparison", "compare_diversity", "paired_comparison", "sign_flip_test"]

_EXACT_UP_TO = 13
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class DiversityComparison:
    """The second model's diversity less the first's.

    Attributes:
        difference: with its interval.
        p_value: of the paired sign-flip test, that inputs do not favour either model; None across inputs, where there
            are no values per input to flip.
    """

    difference: Estimate
    p_value: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate's JSON form with `p_value` added."""
        return {**self.difference.to_dict(), "p_value": self.p_value}

    def __str__(self) -> str:
        sign = f"{self.difference.value:+.3f} [{self.difference.ci[0]:+.3f}, {self.difference.ci[1]:+.3f}]"
        return sign if self.p_value is None else f"{sign} p={self.p_value:.2g}"


def compare_diversity(
    first: Sequence[Sequence[str]],
    second: Sequence[Sequence[str]],
    metric: DiversityMetric,
    *,
    level: Literal["per_input", "across_input"] = "per_input",
    seed: int = 0,
    draws: int = 1,
    blocks: int = 20,
) -> DiversityComparison:
    """Return how much more diverse the second model's outputs are, on the same inputs in the same order.

    Args:
        first: one list of outputs per input.
        second: the same of another model.
        metric: D.
        level: "per_input" pairs the values of an input (bootstrap interval, sign-flip test); "across_input" sets D of
            one output of every input against D of the other model's (paired jackknife).
        seed: of bootstrap, flips and draws.
        draws: across inputs, average over so many draws of one output of every input.
        blocks: of the jackknife.

    Raises:
        DataError: the numbers of inputs differ, an input has too few outputs, or D is undefined.

    Example:
        >>> from genrlhf.metrics import DistinctN
        >>> print(compare_diversity([["a b", "c d"]] * 8, [["a b", "a b"]] * 8, DistinctN(1)))
        -0.500 [-0.500, -0.500] p=0.0078
    """
    least = least_texts(metric) if level == "per_input" else 1
    ours, theirs = (check_outputs(outputs, at_least=least, metric=metric_name(metric)) for outputs in (first, second))
    if len(ours) != len(theirs):
        raise DataError(f"There are outputs of {len(ours)} inputs and of {len(theirs)}; give both for the same inputs.")
    if level == "per_input":
        return paired_comparison(values_of_sets(metric, ours), values_of_sets(metric, theirs), seed=seed)
    if level != "across_input":
        raise ConfigError(f"level is {level!r}; give 'per_input' or 'across_input'.")
    sides = []
    for outputs in (ours, theirs):
        drawn = draw_one_of_each(outputs, seed=seed, draws=draws)
        sides.append(leave_out_inputs([[[text] for text in texts] for texts in drawn], metric, blocks))
    return DiversityComparison(sides[1].less(sides[0]), None)


def paired_comparison(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> DiversityComparison:
    """Compare the values of the same inputs; those where either is NaN are left out.

    Args:
        first: (inputs,) floats.
        second: (inputs,) floats.
        seed: of bootstrap and flips.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    estimate = bootstrap_estimate(differences, seed=seed)
    return DiversityComparison(estimate, sign_flip_test(estimate.values, seed=seed))


def sign_flip_test(differences: ArrayLike, *, flips: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value of paired differences under random signs.

    Where neither side is favoured, the sign of every difference is as likely + as −; p is the share of signs that make
    the mean at least as far from 0 as it is (Fisher 1935; Good 2005, "Permutation, Parametric and Bootstrap Tests of
    Hypotheses"). Up to 13 differences all signs are tried; beyond that, `flips` random ones and those that are there,
    so that p is at least 1 / (flips + 1).

    Args:
        differences: (n,) finite floats.
        flips: random signs.
        seed: of the signs.

    Example:
        >>> sign_flip_test([1.0, 2.0, 3.0])  # 2 of 8 signs
        0.25
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    # Sums of the same numbers in another order differ by rounding.
    seen = abs(values.sum()) - 1e-12 * abs(values).sum()
    if n <= _EXACT_UP_TO:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
        return float((abs(signs @ values) >= seen).mean())
    generator = np.random.default_rng(seed)
    step = max(1, _NUMBERS_AT_ONCE // n)
    beyond = 0
    for start in range(0, flips, step):
        signs = generator.integers(2, size=(min(step, flips - start), n)) * 2.0 - 1.0
        beyond += int((abs(signs @ values) >= seen).sum())
    return (beyond + 1) / (flips + 1)
