"""How many inputs are solved by one of k outputs, by all of them, and how reliably."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from genrlhf.errors import ConfigError
from genrlhf.metrics.solutions.verdicts import check_k, right_and_all, share_or_undefined
from genrlhf.types import Estimate

__all__ = ["cover_at_tau", "none_of_k", "pass_at_k", "pass_hat_k"]


def pass_at_k(verdicts: Sequence[Sequence[bool]], k: int) -> Estimate:
    """Return the mean over inputs of the chance that at least one of k outputs is right.

    With c of an input's n outputs right, the unbiased estimate is the share of all sets of k of them with a right one::

        pass@k = 1 − C(n − c, k) / C(n, k)

    Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1. 1 − (1 − c/n)^k is biased (low).

    Args:
        verdicts: one list per input, of booleans, one an output.
        k: how many outputs are drawn, without replacement.

    Returns:
        With the score interval of a mean over inputs. An input with fewer than k outputs has no value (NaN, and not 1
        as the product without a guard gives); it is left out, and `n` counts the others. NaN where none has k.

    Raises:
        DataError: `verdicts` is no list of lists of booleans.
        ConfigError: k is below 1.

    Example:
        >>> print(f"{pass_at_k([[True, False, False, False], [False] * 4], k=2).value:.3f}")  # (3/6 + 0) / 2
        0.250
    """
    return share_or_undefined(_by_input(verdicts, k, lambda n, c, k: 1 - none_of_k(n, c, k)))


def pass_hat_k(verdicts: Sequence[Sequence[bool]], k: int) -> Estimate:
    """Return the mean over inputs of the chance that all of k outputs are right, pass^k = C(c, k) / C(n, k).

    Yao et al. 2024, "τ-bench: A Benchmark for Tool-Agent-User Interaction in Real-World Domains", section 4. Unbiased;
    pass^1 = pass@1.

    Args:
        verdicts: as of `pass_at_k`, and so are guard, interval and errors.
        k: how many outputs are drawn, without replacement.

    Example:
        >>> print(f"{pass_hat_k([[True, True, True, False], [False] * 4], k=2).value:.3f}")  # (3/6 + 0) / 2
        0.250
    """
    return share_or_undefined(_by_input(verdicts, k, lambda n, c, k: none_of_k(n, n - c, k)))


def cover_at_tau(verdicts: Sequence[Sequence[bool]], tau: float) -> Estimate:
    """Return the share of inputs of which at least a share τ of the outputs is right: breadth at a stated reliability.

    Dragoi et al. 2025, "Beyond Pass@k: Breadth-Depth Metrics for Reasoning Boundaries". With the rate c/n of every
    input, pass@k weighs all reliabilities, low ones the more the larger k is::

        mean over inputs of 1 − (1 − c/n)^k  =  k ∫₀¹ (1 − τ)^(k − 1) Cover@τ dτ

    It counts the rates that were seen, which scatter around the true ones: few outputs put inputs near τ on the wrong
    side. Compare at equal n.

    Args:
        verdicts: as of `pass_at_k`.
        tau: above 0 and at most 1.

    Returns:
        With Wilson's interval of a share of inputs.

    Raises:
        DataError: as `pass_at_k`.
        ConfigError: τ is out of range.

    Example:
        >>> print(cover_at_tau([[True, True], [True, False], [False, False], [True, True]], 0.5))
        0.750 [0.301, 0.954]
    """
    if not 0 < tau <= 1:
        raise ConfigError(f"tau is {tau}; give a share above 0 and at most 1, such as 0.5.")
    right, count = right_and_all(verdicts)
    # A share such as 0.3 is not exact: 3 of 10 reach it.
    return share_or_undefined(right >= tau * count - 1e-9 * count)


def none_of_k(n: int, c: int, k: int) -> float:
    """Return C(n − c, k) / C(n, k), the chance that k of n things, drawn without replacement, have none of c of them.

    As a product of ratios of at most 1, which neither overflows nor cancels. NaN where there are fewer than k.
    """
    if k > n:
        return math.nan
    if c + k > n:
        return 0.0
    fewer, more = (c, k) if c < k else (k, c)
    i = np.arange(fewer)
    return float(np.prod((n - more - i) / (n - i)))


def _by_input(verdicts: Sequence[Sequence[bool]], k: int, value: Callable[[int, int, int], float]) -> np.ndarray:
    """Return `value(n, c, k)` of every input, each pair of n and c once."""
    check_k(k)
    right, count = right_and_all(verdicts)
    pairs, places = np.unique(np.stack([count, right]), axis=1, return_inverse=True)
    values = np.array([value(n, c, k) for n, c in pairs.T.tolist()])
    return values[places.reshape(-1)]
