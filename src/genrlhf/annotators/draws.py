"""What is drawn for a pair: by its content, so that neither order nor batches nor what else there is changes it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

__all__ = ["Shown", "coin", "drawn_annotators", "uniform"]

Shown = tuple[str, str, str]
"""The texts of a prompt and of two outputs for it."""

_BITS = 52


def uniform(seed: int, what: str, shown: Shown) -> float:
    """Return a number between 0 and 1, neither included, that only the seed, `what` and the texts decide.

    Args:
        seed: of all draws.
        what: the number is for; others are independent of it.
        shown: the texts of a pair, whichever output comes first.
    """
    prompt, *outputs = shown
    digest = hashlib.sha256()
    for part in (str(seed), what, prompt, *sorted(outputs)):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    whole = int.from_bytes(digest.digest()[:8], "big") >> (64 - _BITS)
    return (whole + 0.5) / float(1 << _BITS)


def drawn_annotators(weights: Mapping[str, float], shown: Shown, *, n: int, seed: int) -> list[str]:
    """Return `n` of several annotators, each drawn by its weight among those that are left.

    With a uniform number u of every annotator and pair, they are those with the smallest −log(u) / weight (Efraimidis
    and Spirakis 2006, "Weighted random sampling with a reservoir"). So one that is added to the pool takes pairs from
    the others, and moves none between them.

    Args:
        weights: by name, 0 for one that is never drawn.
        shown: the texts of the pair.
        n: at most as many as have a weight above 0.
        seed: of the draw.

    Example:
        >>> drawn_annotators({"a": 1.0, "b": 0.0, "c": 1.0}, ("Name a colour.", "red", "blue"), n=2, seed=0)
        ['a', 'c']
    """
    times = {
        name: -math.log(uniform(seed, f"annotator {name}", shown)) / weight
        for name, weight in weights.items()
        if weight > 0
    }
    return sorted(times, key=lambda name: (times[name], name))[:n]


def coin(name: str, shown: Shown, *, noise: float, seed: int) -> float | None:
    """Return the label that a coin takes the place of an annotator's with, None where it does not.

    A share 2 `noise` of labels is a fair coin's, of which half are wrong: so `noise` of all labels are (Dubois et al.
    2023). More noise adds pairs to these, and changes none.

    Args:
        name: of the annotator.
        shown: the texts of the pair.
        noise: p, the share of labels that are flipped.
        seed: of the draws.

    Returns:
        1 or 2 for the first or second output.
    """
    if uniform(seed, f"noise {name}", shown) >= 2 * noise:
        return None
    smaller_wins = uniform(seed, f"coin {name}", shown) < 0.5
    return 1.0 if smaller_wins == (shown[1] <= shown[2]) else 2.0
