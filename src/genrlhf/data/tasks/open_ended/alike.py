"""Which answers are alike, for rewards of groups and metrics: without a model, by how they are written."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genrlhf.data.tasks.open_ended.checkers import normal_form

if TYPE_CHECKING:
    import numpy as np

__all__ = ["answer_classes", "letter_triples"]

_WIDTH = 1024


def answer_classes(sets: Sequence[Sequence[str]]) -> list[list[str]]:
    r"""Return the class of every text, its normal form: what differs in case, marks or what follows a line is the same.

    For `classes` of DARLING and others: `genrlhf.data.tasks.open_ended.alike:answer_classes`.

    Example:
        >>> answer_classes([[" Ohio", " ohio.\nQ:", " Utah"]])
        [['ohio', 'ohio', 'utah']]
    """
    return [[normal_form(text) for text in texts] for texts in sets]


def letter_triples(texts: Sequence[str]) -> np.ndarray:
    """Return how often each triple of letters occurs in the normal form of every text, (texts, 1024) float64.

    For `encoder` of DQO: `genrlhf.data.tasks.open_ended.alike:letter_triples`. Triples go to 1024 places by a checksum,
    and the blanks around an answer count, so that no answer is without any.

    Example:
        >>> counts = letter_triples([" Ohio", "ohio.", "Utah"])
        >>> float(counts[0] @ counts[1]), float(counts[0] @ counts[2])
        (4.0, 0.0)
    """
    import numpy as np

    counts = np.zeros((len(texts), _WIDTH))
    for row, text in enumerate(texts):
        written = f" {normal_form(text)} ".ljust(3)
        for start in range(len(written) - 2):
            counts[row, zlib.crc32(written[start : start + 3].encode()) % _WIDTH] += 1
    return counts
