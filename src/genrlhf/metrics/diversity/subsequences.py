"""The longest common subsequences of many pairs of texts at once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["common_subsequences"]

_CELLS_AT_ONCE = 4_000_000
"""Words of the shorter texts of the pairs that are compared together: 16 MB."""

_BITS = 64


def common_subsequences(words: Sequence[Sequence[Hashable]], pairs: np.ndarray) -> np.ndarray:
    """Return the length of the longest common subsequence of words of every pair of texts.

    A row of the table is the bits of numbers, and all pairs go through their rows together (Hyyrö 2004, "Bit-parallel
    LCS-length computation revisited").

    Args:
        words: of every text.
        pairs: (n, 2) int64, which two texts.

    Returns:
        (n,) int64.
    """
    numbers: dict[Hashable, int] = {}
    lengths = np.array([len(text) for text in words], dtype=np.int64)
    flat = np.array([numbers.setdefault(word, len(numbers)) for text in words for word in text], dtype=np.int32)
    starts = np.cumsum(lengths) - lengths
    swapped = lengths[pairs[:, 0]] > lengths[pairs[:, 1]]
    short, long = np.where(swapped[:, None], pairs[:, ::-1], pairs).T
    found = np.zeros(len(pairs), dtype=np.int64)
    # Pairs of like lengths go together, so that little of it is padding.
    order = np.lexsort((lengths[long], lengths[short]))
    order = order[lengths[short[order]] > 0]
    start = 0
    while start < len(order):
        # The last ones are the longest.
        end = min(len(order), start + max(1, _CELLS_AT_ONCE // int(lengths[short[order[start]]])))
        while (end - start) * int(lengths[short[order[end - 1]]]) > _CELLS_AT_ONCE and end - start > 1:
            end = start + (end - start) // 2
        part = order[start:end]
        found[part] = _rows(
            _padded(flat, starts, lengths, short[part], -1), _padded(flat, starts, lengths, long[part], -2)
        )
        start = end
    return found


def _padded(flat: np.ndarray, starts: np.ndarray, lengths: np.ndarray, texts: np.ndarray, filler: int) -> np.ndarray:
    """Return the words of texts as rows of equal length, (texts, longest) int32."""
    places = np.arange(int(lengths[texts].max()))
    inside = places < lengths[texts][:, None]
    rows: np.ndarray = np.where(inside, flat[np.where(inside, starts[texts][:, None] + places, 0)], filler)
    return rows.astype(np.int32)


def _rows(short: np.ndarray, long: np.ndarray) -> np.ndarray:
    """Return the lengths of the longest common subsequences of the rows of two arrays of words."""
    count, width = short.shape
    columns = -(-width // _BITS)
    row = np.full((count, columns), ~np.uint64(0))
    packed = np.zeros((count, columns * _BITS // 8), dtype=np.uint8)
    for place in range(long.shape[1]):
        same = np.packbits(short == long[:, place : place + 1], axis=1, bitorder="little")
        packed[:, : same.shape[1]] = same
        matches = packed.view("<u8")
        met = row & matches
        total = row + met
        for column in range(1, columns):
            # What the sum of one column does not hold is carried into the next.
            carried = total[:, column - 1] < row[:, column - 1]
            if column > 1:
                carried |= (total[:, column - 1] == row[:, column - 1]) & (met[:, column - 1] > 0)
            total[:, column] += carried
        row = total | (row & ~matches)
    # Every 0 that is left is a word of the subsequence.
    zeros: np.ndarray = np.bitwise_count(~row).sum(axis=1, dtype=np.int64)
    return zeros
