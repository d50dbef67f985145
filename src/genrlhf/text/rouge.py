"""ROUGE-L, and the longest common subsequence that it counts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from genrlhf.text.split_words import terms

__all__ = ["common_subsequence", "rouge_l", "rouge_l_of_words"]


def common_subsequence(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Return the length of the longest common subsequence, a row of the table at a time in the bits of a number.

    Hyyrö 2004, "Bit-parallel LCS-length computation revisited".

    Example:
        >>> common_subsequence("abcd", "acxd")
        3
    """
    places: dict[Hashable, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        if at := places.get(word):
            met = row & at
            row = ((row + met) | (row - met)) & full
    return len(a) - row.bit_count()


def rouge_l_of_words(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Return ROUGE-L of two texts in words: 2 L / (|a| + |b|), with L their longest common subsequence; 0 where none.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", equations 2 to 4 with β = 1: the harmonic mean
    of the precision L / |a| and the recall L / |b|.
    """
    if not a or not b:
        return 0.0
    return 1.0 if a == b else 2 * common_subsequence(a, b) / (len(a) + len(b))


def rouge_l(candidate: str, reference: str) -> float:
    """Return ROUGE-L, the F1 score of the longest common subsequence of words (see `rouge_l_of_words`).

    Words are those of `terms`: letters and digits of any script in lower case. They are not stemmed.

    Returns:
        A number from 0 to 1; 0 where either text has no words.

    Example:
        >>> rouge_l("police kill the gunman", "police killed the gunman")
        0.75
    """
    return rouge_l_of_words(terms(candidate), terms(reference))
