"""What an objective keeps from one batch to the next, checkpointed with the run."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from genrlhf.errors import CheckpointError
from genrlhf.trainers.checkpoint import readable
from genrlhf.trainers.objective import Objective, PlainFunction
from genrlhf.trainers.own_code import named_errors
from genrlhf.trainers.state_files import check_state, keeps_state, load_state, save_state

__all__ = ["ObjectiveState", "as_given"]

logger = logging.getLogger(__name__)

FOLDER = "objective"


class ObjectiveState:
    """The state of an objective that has `state_dict` and `load_state_dict`, or `save` and `load`.

    Every process sees rows of its own and so has a state of its own, which it finds again on resuming.

    Args:
        objective: of the training; None has no state.
        process: the index of this one.

    Raises:
        ConfigError: for a state that no file can hold.
    """

    def __init__(self, objective: Objective | None, *, process: int) -> None:
        self._objective = _own(objective)
        self._kind = keeps_state(self._objective)
        self._name = f"the objective {'' if objective is None else objective.title}"
        self._place = Path(FOLDER) / str(process)
        if self._kind == "dict":
            check_state(self._given_away(), name=self._name)
        self._before = _outline(self._objective) if self._kind is None else {}

    def _given_away(self) -> Any:
        with named_errors(f"state_dict of {self._name}"):
            return self._objective.state_dict()

    def save(self, checkpoint: Path) -> None:
        """Write the state beside a checkpoint; warn once of an objective that has changed and has no state to write."""
        folder = checkpoint / self._place
        if self._kind == "dict":
            save_state(self._given_away(), folder, name=self._name)
        elif self._kind == "folder":
            folder.mkdir(parents=True, exist_ok=True)
            self._objective.save(folder)
        else:
            self._warn_if_changed()

    def _warn_if_changed(self) -> None:
        now = _outline(self._objective)
        changed = [name for name, value in self._before.items() if now.get(name) != value]
        self._before = {}
        if changed:
            logger.warning(
                "The attribute %s of %s changes while it trains, and a checkpoint cannot keep it: a run that is "
                "resumed goes on with a fresh one. Where the loss depends on it, give it state_dict() and "
                "load_state_dict(state), or save(folder) and load(folder).",
                ", ".join(changed),
                self._name,
            )

    def load(self, checkpoint: Path) -> None:
        """Give the objective back its state.

        Raises:
            CheckpointError: where the checkpoint does not hold it, or it cannot be read.
        """
        if self._kind is None:
            return
        folder = checkpoint / self._place
        if not folder.is_dir():
            raise CheckpointError(
                f"{checkpoint} holds nothing of {self._name}, which keeps a state; it was written by a run with "
                "another objective. Resume from another checkpoint, or start anew."
            )
        if self._kind == "dict":
            with readable(folder):
                state = load_state(folder)
            with named_errors(f"load_state_dict of {self._name}"):
                self._objective.load_state_dict(state)
        else:
            with readable(folder):
                self._objective.load(folder)


def as_given(objective: Objective | None) -> Objective | None:
    """Return an objective to train with that leaves this one as it is: a copy where it keeps a state."""
    return objective if keeps_state(_own(objective)) is None else copy.deepcopy(objective)


def _own(objective: Objective | None) -> Any:
    """Return the object of the user's that keeps the state."""
    return objective.function if isinstance(objective, PlainFunction) else objective


def _outline(value: Any) -> Mapping[str, Any]:
    """Return what tells whether attributes have changed, without a copy of what they hold."""
    return {name: _sketch(each) for name, each in getattr(value, "__dict__", {}).items()}


def _sketch(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        return id(value), value._version
    return id(value), len(value) if hasattr(value, "__len__") else None
