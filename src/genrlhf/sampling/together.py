"""Which prompts a sampler decodes together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from genrlhf.types import Sampler, SamplingParams

__all__ = ["Batching", "batches_of"]


@runtime_checkable
class Batching(Protocol):
    """A sampler that says which prompts it decodes together."""

    def batches(self, prompts: Sequence[Any], n: int, params: SamplingParams) -> list[Sequence[int]]:
        """Return their places, batch by batch.

        Those of any of these batches alone, in the order of their places, are put into the same batches.
        """
        ...


def batches_of(sampler: Sampler, prompts: Sequence[Any], n: int, params: SamplingParams) -> list[Sequence[int]]:
    """Return the places of prompts that are decoded together; each alone where a sampler does not say."""
    if isinstance(sampler, Batching):
        return sampler.batches(prompts, n, params)
    return [[place] for place in range(len(prompts))]
