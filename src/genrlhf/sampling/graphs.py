"""A decoding step that is recorded once on a GPU and repeated from there.

A step of a small batch is some fifty short operations a layer, and the host takes longer to send them than the GPU to
do them. A CUDA graph is sent as one. It repeats the very operations on the very memory, so what changes from step to
step (the tokens, the place of the newest one) has to stand in tensors, and shapes have to stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["WIDTH", "StepGraphs", "record"]

logger = logging.getLogger(__name__)

WIDTH = 64
"""Response places that a graph attends to are a multiple of this, as few as hold the response so far."""

WORTHWHILE = 6
"""Steps that a graph should serve at least: to record it takes as long as one without it."""


class StepGraphs:
    """Takes the steps of one batch, recording one again where its shapes change.

    Args:
        step: from tokens (R,) int64 to logits (R, V); the same operations each time it is called with the same shapes.
    """

    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.step = step
        self.works = True
        self._shapes: tuple[int, int] | None = None
        self._tokens: torch.Tensor | None = None
        self._logits: torch.Tensor | None = None
        self._graph: Any = None

    def __call__(self, tokens: torch.Tensor, width: int, left: int) -> torch.Tensor:
        """Take a step and return its logits, which the next one overwrites.

        Args:
            tokens: (R,) int64.
            width: response places that are attended to.
            left: how many steps with these shapes there may be, this one included.
        """
        if self._shapes != (len(tokens), width):
            # Once as it is, which also loads what the shapes need.
            self._shapes, self._graph, self._logits = (len(tokens), width), None, None
            return self.step(tokens)
        if self._graph is None and not (self.works and left >= WORTHWHILE and self._record(tokens)):
            return self.step(tokens)
        assert self._tokens is not None and self._logits is not None
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._logits

    def _record(self, tokens: torch.Tensor) -> bool:
        try:
            self._tokens = own = tokens.clone()
            self._graph, self._logits = record(lambda: self.step(own))
        except RuntimeError as error:
            # A model may look at its numbers on the way, which nothing that is only recorded has.
            logger.info("A decoding step could not be recorded as a CUDA graph: %s", error)
            self._graph, self._logits, self.works = None, None, False
        return self.works


def record(step: Callable[[], torch.Tensor]) -> tuple[Any, torch.Tensor]:
    """Record a step without taking it; return the graph, and the tensor that its result will be in."""
    graph = torch.cuda.CUDAGraph()
    # What other threads do on the GPU meanwhile is no concern of the graph.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = step()
    return graph, result
