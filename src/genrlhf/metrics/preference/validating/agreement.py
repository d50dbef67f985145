"""How far annotators agree on which of two outputs is better.

A label is a win share: 1 where the second output is better, 0 where the first is, 0.5 for a tie. Preferences by degree
are taken for what they lean to (see `win_labels`).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from genrlhf.errors import ConfigError, DataError

__all__ = [
    "agreement",
    "cohen_kappa",
    "fleiss_kappa",
    "krippendorff_alpha",
    "label_counts",
    "leave_one_out",
    "majority",
    "others_majority",
    "win_labels",
]


def win_labels(shares: ArrayLike) -> np.ndarray:
    """Return loss, tie or win (0, 0.5 or 1) for win shares below, at and above 0.5; floats of the same shape.

    Raises:
        DataError: a share is not between 0 and 1; NaN is no label either.

    Example:
        >>> win_labels([0, 0.25, 0.5, 0.75, 1]).tolist()
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    given = np.asarray(shares, dtype=np.float64)
    wrong = given[~((given >= 0) & (given <= 1))]
    if wrong.size:
        raise DataError(f"A label is {wrong[0]}; it must be a win share from 0 to 1 (leave out what has no answer).")
    # Answers that average to a tie may miss it by a rounding.
    labels: np.ndarray = (1 + np.sign(np.round(given - 0.5, 9))) / 2
    return labels


def agreement(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Return how far two annotators agree on every pair.

    For labels a and b in {0, 0.5, 1}::

        agreement = 1 − |a − b|

    This is 1 for the same winner and where both say tie, 0 for opposite winners, and 0.5 where exactly one says tie:
    AlpacaEval's "absolute" scoring rule, taken of rounded labels. Its "zero_one" rule differs in the last case alone,
    which it counts as 0.

    Args:
        first: win shares.
        second: those of the other annotator, in a shape that broadcasts with `first`.

    Raises:
        DataError: the shapes do not go together, or a label is none.

    Example:
        >>> agreement([1, 1, 1, 0.5], [1, 0, 0.5, 0.5]).tolist()
        [1.0, 0.0, 0.5, 1.0]
    """
    a, b = win_labels(first), win_labels(second)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise DataError(f"There are labels of shapes {a.shape} and {b.shape}; give two of the same pairs.") from None
    shared: np.ndarray = 1 - np.abs(a - b)
    return shared


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Return Cohen's kappa of two annotators, for the categories loss, tie and win.

    With p_o the share of pairs with the same label, and p_i and q_i the shares of label i among each annotator's::

        κ = (p_o − p_e) / (1 − p_e),    p_e = Σ_i p_i q_i

    Cohen 1960, "A Coefficient of Agreement for Nominal Scales". Here a tie against a winner is plain disagreement.

    Args:
        first: (n,) win shares.
        second: (n,), those of the other annotator.

    Returns:
        NaN where p_e is 1, since both have the same label for everything.

    Raises:
        DataError: there are no labels, not as many of both, or one is none.

    Example:
        >>> cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0])
        0.5
    """
    a, b = win_labels(first), win_labels(second)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise DataError(f"There are labels of shapes {a.shape} and {b.shape}; give one of each annotator for a pair.")
    p, q = label_counts(a) / a.size, label_counts(b) / b.size
    return _corrected(float((a == b).mean()), float(p @ q))


def fleiss_kappa(counts: ArrayLike) -> float:
    """Return Fleiss' kappa of many annotators, who need not be the same for every item.

    With n_ij the ratings of item i in category j, n_i = Σ_j n_ij, and N items::

        P_i = Σ_j n_ij (n_ij − 1) / (n_i (n_i − 1)),    p_j = Σ_i n_ij / Σ_i n_i
        κ = (P − P_e) / (1 − P_e),    P = Σ_i P_i / N,    P_e = Σ_j p_j²

    Fleiss 1971, "Measuring nominal scale agreement among many raters", to whose formula this comes down where all n_i
    are equal. Items with fewer than two ratings say nothing of agreement and are left out, also of p_j.

    Args:
        counts: (N, k) ratings per item and category.

    Returns:
        NaN where no item has two ratings, or all ratings are in one category.

    Raises:
        DataError: it is no table, or a count is negative or no whole number.

    Example:
        >>> round(fleiss_kappa([[3, 0], [0, 3], [2, 1], [1, 0]]), 6)
        0.55
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2:
        raise DataError(f"counts has the shape {table.shape}; give a row for every item and a column for a category.")
    wrong = table[~((table >= 0) & (table == np.floor(table)))]
    if wrong.size:
        raise DataError(f"A count is {wrong[0]}; counts of ratings are whole numbers, 0 or more.")
    table = table[table.sum(axis=1) >= 2]
    if not len(table):
        return math.nan
    ratings = table.sum(axis=1)
    agreeing = (table * (table - 1)).sum(axis=1) / (ratings * (ratings - 1))
    shares = table.sum(axis=0) / ratings.sum()
    return _corrected(float(agreeing.mean()), float(shares @ shares))


def krippendorff_alpha(labels: ArrayLike, *, level: Literal["nominal", "ordinal", "interval"] = "nominal") -> float:
    """Return Krippendorff's alpha of many annotators, who need not all have labelled every pair.

    With D_o how far labels of one pair disagree, and D_e how far any labels do, each over all pairs of labels::

        α = 1 − D_o / D_e

    Krippendorff 2004, "Content Analysis", chapter 11; computed by the package `krippendorff` (the extra `agreement`).
    Unlike `fleiss_kappa` it corrects for few labels, and may count a tie as half way between win and loss.

    Args:
        labels: (annotators, pairs) win shares, NaN where an annotator has no label of a pair.
        level: "nominal", a disagreement is a disagreement; "interval", a tie is half as far from a win as a loss is;
            "ordinal", by how many labels lie between two.

    Returns:
        NaN where no pair has two labels, or all labels are the same.

    Raises:
        ConfigError: the package is missing, or there is no such level.
        DataError: it is no table of labels.

    Example:
        >>> nan = float("nan")
        >>> round(krippendorff_alpha([[1, 1, 0, 0], [1, 0, 0, nan], [1, 1, 0, 0]]), 6)
        0.666667
    """
    if level not in ("nominal", "ordinal", "interval"):
        raise ConfigError(f"level is {level!r}; give 'nominal', 'ordinal' or 'interval'.")
    given = np.asarray(labels, dtype=np.float64)
    if given.ndim != 2:
        raise DataError(f"labels has the shape {given.shape}; give a row for every annotator and a column for a pair.")
    counts = np.array([label_counts(pair[~np.isnan(pair)]) for pair in given.T]).reshape(-1, 3)
    paired = counts[counts.sum(axis=1) >= 2]
    if np.count_nonzero(paired.sum(axis=0)) < 2:
        return math.nan
    try:
        import krippendorff
    except ImportError as error:
        raise ConfigError(
            "Krippendorff's alpha needs the package krippendorff (Python 3.11 or newer): pip install "
            "'genrlhf[agreement]'."
        ) from error
    # Labels that nobody gave have no rank.
    there = counts.sum(axis=0) > 0
    domain = np.array([0.0, 0.5, 1.0])[there]
    return float(krippendorff.alpha(value_counts=counts[:, there], value_domain=domain, level_of_measurement=level))


def label_counts(labels: ArrayLike) -> np.ndarray:
    """Return how many labels say loss, tie and win, (3,) integers: a row of `fleiss_kappa`'s table.

    Example:
        >>> label_counts([1, 0.5, 1]).tolist()
        [0, 1, 2]
    """
    counts: np.ndarray = np.bincount((2 * win_labels(labels)).astype(np.int64), minlength=3)
    return counts


def majority(labels: ArrayLike) -> float:
    """Return the label of most annotators of one pair; a draw between labels gives a tie (0.5).

    AlpacaFarm and AlpacaEval break a draw at random; between a win and a loss that has the expected `agreement` of a
    tie with every winner.

    Args:
        labels: (m,) win shares, at least one.

    Raises:
        DataError: there are no labels, or one is none.

    Example:
        >>> majority([1, 1, 0]), majority([1, 0]), majority([0.5, 1])
        (1.0, 0.5, 0.5)
    """
    counts = label_counts(labels)
    if not counts.any():
        raise DataError("There are no labels to take the majority of; give at least one.")
    return _most(counts)


def others_majority(labels: ArrayLike) -> np.ndarray:
    """Return for every annotator of one pair the majority of the others.

    Args:
        labels: (m,) win shares of m annotators.

    Returns:
        (m,) labels.

    Raises:
        DataError: there are fewer than two labels, or one is none.

    Example:
        >>> others_majority([1, 1, 0]).tolist()
        [0.5, 0.5, 1.0]
    """
    own = win_labels(labels)
    if own.ndim != 1 or len(own) < 2:
        raise DataError(f"There are labels of shape {own.shape}; leaving one out takes two annotators of a pair.")
    counts = label_counts(own)
    # Who gives the same label leaves the same others behind.
    left = {label: _most(counts - label_counts([label])) for label in set(own.tolist())}
    return np.array([left[label] for label in own.tolist()])


def leave_one_out(labels: ArrayLike) -> np.ndarray:
    """Return how far every annotator of one pair agrees with the majority of the others.

    The mean is the leave-one-out agreement of Dubois et al. 2023, "AlpacaFarm", which Kirk et al. 2024,
    "Understanding the Effects of RLHF on LLM Generalisation and Diversity", appendix D, set beside a judge's::

        1/m Σ_a agreement(y_a, majority({y_b : b ≠ a}))

    Args:
        labels: (m,) win shares of m annotators, at least two.

    Example:
        >>> leave_one_out([1, 1, 0]).tolist()
        [0.5, 0.5, 0.0]
    """
    return agreement(labels, others_majority(labels))


def _most(counts: np.ndarray) -> float:
    most = np.flatnonzero(counts == counts.max())
    return float(most[0]) / 2 if len(most) == 1 else 0.5


def _corrected(observed: float, chance: float) -> float:
    """Return how much of what agreement is possible beyond chance is there."""
    return (observed - chance) / (1 - chance) if chance < 1 else math.nan
