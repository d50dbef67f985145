"""How well texts compress together."""

from __future__ import annotations

import gzip
import lzma
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Literal

from genrlhf.errors import ConfigError
from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.diversity.set_metric import SetMetric
from genrlhf.text import composed

__all__ = ["CompressionRatio"]

_CORES = min(8, os.cpu_count() or 1)
"""Compressing goes on without Python's lock; the texts are in memory once for each."""


@dataclass(frozen=True)
class CompressionRatio(SetMetric):
    """The size of the texts, joined by blanks, over their size when compressed: repetition compresses.

    Shaib et al. 2024, "Standardizing the Measurement of Text Diversity". Above 0, **lower is more diverse**; a few
    short texts stay below 1, since the format has a header, so compare like amounts of text. Blank texts are left out,
    and equal ones in different forms of Unicode are one (NFC). NaN where no text is left.

    Attributes:
        algorithm: "gzip" (at level 9, without a time stamp) or "xz".

    Raises:
        ConfigError: for another algorithm.

    Example:
        >>> metric = CompressionRatio()
        >>> metric(["the cat sat on the mat"] * 9) > metric([str(number**9) for number in range(90, 99)])
        True
    """

    name: ClassVar[str] = "compression_ratio"
    higher_is_more_diverse: ClassVar[bool] = False
    algorithm: Literal["gzip", "xz"] = "gzip"

    def __post_init__(self) -> None:
        if self.algorithm not in ("gzip", "xz"):
            raise ConfigError(f"algorithm is {self.algorithm!r}; give 'gzip' or 'xz'.")

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` are blank."""
        blank = sum(1 for text in texts if not composed(text).strip())
        return {"are blank and are left out": blank} if blank else {}

    def batch(self, sets: Sequence[Sequence[str]]) -> list[float]:
        """Return the compression ratio of every set of texts."""
        return [self._ratio([text for text in _there(texts) if text is not None]) for texts in sets]

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, list[float]]:
        """Return the ratio of `texts`, and that without each block of indices, on all cores."""
        there = _there(texts)

        def without(block: Sequence[int]) -> float:
            left = frozenset(block)
            return self._ratio([text for place, text in enumerate(there) if text is not None and place not in left])

        with ThreadPoolExecutor(_CORES) as pool:
            value, *others = pool.map(without, [(), *blocks])
        return value, others

    def _ratio(self, texts: list[str]) -> float:
        if not texts:
            return math.nan
        data = " ".join(texts).encode("utf-8", "surrogatepass")
        packed = gzip.compress(data, mtime=0) if self.algorithm == "gzip" else lzma.compress(data)
        return len(data) / len(packed)


def _there(texts: Sequence[str]) -> list[str | None]:
    """Return texts as they are compressed, None in place of blank ones."""
    return [text if text.strip() else None for text in map(composed, check_texts(texts, "texts"))]
