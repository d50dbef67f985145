"""Which pairs of the texts of a set are compared."""

from __future__ import annotations

import math
import random

import numpy as np

from genrlhf.errors import ConfigError

__all__ = ["check_max_pairs", "draw_pairs"]


def check_max_pairs(max_pairs: int | None) -> None:
    """Raise `ConfigError` for a budget that has no pair."""
    if max_pairs is not None and max_pairs < 1:
        raise ConfigError(f"max_pairs is {max_pairs}; give at least 1, or None for all pairs.")


def draw_pairs(n: int, max_pairs: int | None, draw: random.Random) -> np.ndarray:
    """Return all pairs i < j of n texts, or a sample of `max_pairs` different ones where there are more.

    Returns:
        (pairs, 2) int64.
    """
    total = n * (n - 1) // 2
    if max_pairs is None or total <= max_pairs:
        return np.stack(np.triu_indices(n, 1), axis=1)
    return np.array([_pair_at(number) for number in sorted(draw.sample(range(total), max_pairs))], dtype=np.int64)


def _pair_at(number: int) -> tuple[int, int]:
    """Return pair `number` of (0, 1), (0, 2), (1, 2), (0, 3), …, the pairs i < j in the order of j."""
    j = (1 + math.isqrt(1 + 8 * number)) // 2
    return number - j * (j - 1) // 2, j
