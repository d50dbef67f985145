"""Filling a file of outputs, in one process or in all of a launcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from genrlhf.models.processes import decided_by_main, gathered
from genrlhf.sampling.store import Progress, SampleStore, StoreSummary

if TYPE_CHECKING:
    from genrlhf.types import Sampler

__all__ = ["fill"]


def fill(
    store: SampleStore,
    make_sampler: Callable[[], Sampler],
    report: Callable[[Progress], None] = lambda progress: None,
) -> StoreSummary:
    """Draw what a file lacks, and return what all processes have drawn.

    All processes must call this, each with a store that has its number. What goes wrong on one is raised on all, where
    it would leave the others waiting.

    Args:
        store: the file.
        make_sampler: called in processes of whose share something is missing.
        report: is told how far this process is.
    """
    decided_by_main(store.open)

    def draw() -> list[StoreSummary]:
        store.load()
        return [store.run(make_sampler(), report)] if store.missing else []

    drawn = gathered(draw)
    decided_by_main(store.finish)
    return StoreSummary.of(drawn)
