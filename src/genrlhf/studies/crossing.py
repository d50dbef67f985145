"""From how many outputs on the model that others come from solves more than they do, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genrlhf.metrics.solutions.crossing import CrossingPoint, crossing_of_curves, pass_curves
from genrlhf.studies.seeds import share_over_seeds

__all__ = ["crossing_over_seeds"]


def crossing_over_seeds(
    base: Sequence[Mapping[str, Any]], trained: Sequence[Mapping[str, Any]]
) -> CrossingPoint | None:
    """Return where pass@k of a base overtakes that of a trained model (see `crossing_point`).

    Of several seeds the curves are averaged; the interval of the difference at every k then holds seeds and inputs both
    (see `genrlhf.studies.seeds`).

    Args:
        base: of every seed, how many outputs of each input are "right", of how many "outputs".
        trained: the same of the trained model.

    Returns:
        None where the two were not drawn for the same inputs and seeds.
    """
    if len(base) != len(trained) or len({len(each["right"]) for each in (*base, *trained)}) != 1:
        return None
    largest = min(each["outputs"] for each in (*base, *trained))

    def curves(side: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return (seeds, inputs, k)."""
        right = [np.array(each["right"]) for each in side]
        counts = [np.full(len(each["right"]), each["outputs"]) for each in side]
        return np.stack([pass_curves(*each, largest) for each in zip(right, counts, strict=True)])

    return crossing_of_curves(
        curves(base),
        curves(trained),
        intervals=lambda differences: share_over_seeds(differences, bounds=(-1.0, 1.0)).ci,
    )
