"""A `Sampler` that puts around every prompt what its model wants there."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from genrlhf.sampling.together import batches_of
from genrlhf.types import Sample, Sampler, SamplingParams

__all__ = ["AskedSampler"]


@dataclass
class AskedSampler(Sampler):
    """Asks a sampler as a model is to be asked; samples are those of the prompts.

    Args:
        sampler: what is asked.
        asking: returns a prompt as the model is asked, such as an `Asking`.
    """

    sampler: Sampler
    asking: Callable[[Any], Any]

    def stream(
        self,
        prompts: Sequence[Any],
        n: int,
        params: SamplingParams,
        seed: int,
        *,
        rows: Sequence[int] | None = None,
        done: Container[int] = (),
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place in prompts, its n samples)` as the sampler does."""
        asked = [self.asking(prompt) for prompt in prompts]
        return self.sampler.stream(asked, n, params, seed, rows=rows, done=done)

    def batches(self, prompts: Sequence[Any], n: int, params: SamplingParams) -> list[Sequence[int]]:
        """Return the places of prompts that the sampler decodes together."""
        return batches_of(self.sampler, [self.asking(prompt) for prompt in prompts], n, params)
