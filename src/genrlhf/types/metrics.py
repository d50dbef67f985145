"""What a metric is, what else it may know of itself, and what a judge is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

__all__ = [
    "DiversityMetric",
    "HasBounds",
    "HasDirection",
    "HasRemarks",
    "Judge",
    "LeavesOut",
    "MeasuresSets",
    "NeedsTexts",
    "UsesLogprobs",
]


@runtime_checkable
class DiversityMetric(Protocol):
    """Diversity of a set of texts, higher is more diverse."""

    @property
    def name(self) -> str:
        """What the metric is called in tables and files."""
        ...

    def __call__(self, texts: Sequence[str]) -> float:
        """Return the diversity of `texts`; NaN where it is undefined for so few of them."""
        ...


@runtime_checkable
class NeedsTexts(Protocol):
    """A metric that says how many texts it needs; others take one."""

    min_texts: int


@runtime_checkable
class HasDirection(Protocol):
    """A metric that says which way it goes; others are higher for more diverse texts."""

    higher_is_more_diverse: bool


@runtime_checkable
class HasBounds(Protocol):
    """A metric that says between which values it lies, which its intervals then do not leave."""

    bounds: tuple[float, float] | None


@runtime_checkable
class MeasuresSets(Protocol):
    """A metric that measures many sets in one call, where others are called for each."""

    def batch(self, sets: Sequence[Sequence[str]]) -> Sequence[float]:
        """Return the value of every set of texts, in their order."""
        ...


@runtime_checkable
class LeavesOut(Protocol):
    """A metric that knows its values without some texts without starting anew."""

    def leave_out(self, texts: Sequence[str], blocks: Sequence[Sequence[int]]) -> tuple[float, Sequence[float]]:
        """Return the value of `texts`, and the values without each block of indices."""
        ...


@runtime_checkable
class HasRemarks(Protocol):
    """A metric, or what a metric asks, that knows of texts that do not count as they stand."""

    def remarks(self, texts: Sequence[str]) -> Mapping[str, int]:
        """Return how many of `texts` do not, by what becomes of them, such as "have no words and are left out".

        Asked after the texts were measured; what only measuring tells is not found out for it.
        """
        ...


@runtime_checkable
class UsesLogprobs(Protocol):
    """A metric of the outputs of one input that looks at how likely they were, too."""

    def batch_with_logprobs(
        self, sets: Sequence[Sequence[str]], logprobs: Sequence[Sequence[Sequence[float]]]
    ) -> Sequence[float]:
        """Return the value of every set of texts, from the log-probability of each token of each text."""
        ...


class Judge(Protocol):
    """Says which of two outputs is better."""

    def __call__(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> Sequence[float | None]:
        """Return one verdict a prompt.

        They are coded as AlpacaEval does: 1 where the first output is better, 2 where the second is, 1.5 for a tie,
        None where there is no answer.
        """
        ...
