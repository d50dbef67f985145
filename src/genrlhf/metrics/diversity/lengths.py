"""How long texts are, which most measures of diversity depend on."""

from __future__ import annotations

from collections.abc import Sequence

from genrlhf.errors import DataError
from genrlhf.text import count_words, first_words

__all__ = ["LENGTHS_DIFFER", "count_words", "length_warning", "match_lengths", "mean_words"]

LENGTHS_DIFFER = 1.2
"""From this ratio of two mean lengths on, figures that depend on length mislead."""


def mean_words(outputs: Sequence[Sequence[str]]) -> float:
    """Return the mean length of an output in words: blank-separated pieces, in scripts without blanks characters.

    See `genrlhf.text.count_words`.
    """
    counts = [count_words(text) for texts in outputs for text in texts]
    return sum(counts) / len(counts) if counts else 0.0


def length_warning(first: float, second: float, names: tuple[str, str]) -> str | None:
    """Return what to say where two models' mean lengths differ by a fifth or more, None where they do not."""
    low, high = sorted((first, second))
    if high < LENGTHS_DIFFER * low or high == low:
        return None
    return (
        f"The outputs of {names[0]} have {first:.1f} words on average and those of {names[1]} {second:.1f}. Longer "
        "texts repeat more words and resemble each other more, so differences in diversity may come from length: "
        "compare again with matched lengths."
    )


def match_lengths(
    first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """Cut the outputs of two models until both have the same lengths, input by input.

    The outputs of an input are ranked by length, and the k-th longest of both models keeps as many words as the
    shorter of the two has. So little is cut as equal distributions of length allow.

    Args:
        first: one list of outputs per input.
        second: the same, with as many outputs of every input.

    Raises:
        DataError: the numbers of inputs or outputs differ.

    Example:
        >>> match_lengths([["a b c", "d"]], [["e f", "g h"]])
        ([['a b', 'd']], [['e f', 'g']])
    """
    if len(first) != len(second):
        raise DataError(
            f"There are outputs of {len(first)} inputs and of {len(second)}; give both for the same inputs."
        )
    cut: tuple[list[list[str]], list[list[str]]] = ([], [])
    for row, (ours, theirs) in enumerate(zip(first, second, strict=True)):
        if len(ours) != len(theirs):
            raise DataError(
                f"Input {row} has {len(ours)} outputs of one model and {len(theirs)} of the other; give as many of "
                "both."
            )
        ranks = [_longest_first(texts) for texts in (ours, theirs)]
        sizes = [min(count_words(ours[i]), count_words(theirs[j])) for i, j in zip(*ranks, strict=True)]
        for texts, rank, result in zip((ours, theirs), ranks, cut, strict=True):
            kept = dict(zip(rank, sizes, strict=True))
            result.append([first_words(text, kept[i]) for i, text in enumerate(texts)])
    return cut


def _longest_first(texts: Sequence[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda index: -count_words(texts[index]))
