"""Noisy comparisons."""

from __future__ import annotations

import math
import random

__all__ = ["is_preferred"]


def is_preferred(margin: float, temperature: float, rng: random.Random) -> bool:
    """Draw whether a noisy judge prefers the first of two texts: with probability σ(margin / temperature).

    Bradley and Terry 1952, "Rank Analysis of Incomplete Block Designs".

    Args:
        margin: score of the first text, less that of the second.
        temperature: above 0, in units of the score.
        rng: what is drawn with.
    """
    return rng.random() < 1 / (1 + math.exp(-margin / temperature))
