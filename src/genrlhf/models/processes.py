"""What several processes do together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from genrlhf.errors import GenRLHFError
from genrlhf.launchers import started_processes

__all__ = ["decided_by_main", "gathered", "has_accelerator", "join_processes"]

ResultT = TypeVar("ResultT")

PATIENCE = timedelta(seconds=1800)
"""How long processes wait for each other: what trainers give theirs."""


def join_processes(patience: timedelta = PATIENCE) -> PartialState:
    """Return the state of the processes that a launcher has started, or of this one alone.

    Args:
        patience: how long they wait for each other; what the first call of a process says counts.
    """
    if started_processes() == 1:
        return PartialState()
    # Without an accelerator, PartialState sees no other process unless it is told to use the CPU.
    return PartialState(cpu=not has_accelerator(), timeout=patience)


def has_accelerator() -> bool:
    """Return whether this machine has a GPU or the like."""
    return bool(getattr(torch, "accelerator", torch.cuda).is_available())


def decided_by_main(decide: Callable[[], ResultT]) -> ResultT:
    """Return on every process what `decide` returns on the main one; what it raises on purpose is raised on all.

    What is on the disk may differ from one look to the next, and processes that saw it differently would part.
    """
    state = PartialState()
    outcome: list[Any] = [None, None]
    if state.is_main_process:
        try:
            outcome[0] = decide()
        except GenRLHFError as error:
            outcome[1] = error
    if state.num_processes > 1:
        broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: ResultT = outcome[0]
    return result


def gathered(find: Callable[[], list[ResultT]]) -> list[ResultT]:
    """Return on every process what `find` returns on all of them; what it raises on one is raised on all.

    A process that raised alone would leave the others waiting for it.
    """
    if PartialState().num_processes == 1:
        return find()
    mine: list[ResultT] = []
    error: Exception | None = None
    try:
        mine = find()
    except Exception as raised:  # whatever it is, the others must hear of it
        error = raised
    said = gather_object([None if error is None else f"{type(error).__name__}: {error}"])
    if error is not None:
        raise error
    if failed := [(number, text) for number, text in enumerate(said) if text is not None]:
        number, text = failed[0]
        raise GenRLHFError(f"Process {number} of {len(said)} ended with {text.removesuffix('.')}.")
    found: list[ResultT] = gather_object(mine)
    return found
