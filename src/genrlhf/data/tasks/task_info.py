"""What is known of a task before it is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from genrlhf.data.task import Task

__all__ = ["TaskInfo"]


@dataclass(frozen=True)
class TaskInfo:
    """What is known of a task before it is loaded.

    Attributes:
        name: of the task, and of its module in `genrlhf.data.tasks`.
        about: what a model learns there, in a line.
        load: returns the task; its parameters are the options of `load_task`.
        sets: the evaluation sets it can have.
        needs: where the rows come from, and what that takes.
        prompt: the form of its prompts.
        filters: rows that are left out, and what is cut.
        rows: numbers of rows that are known before it is loaded, by part; none for what depends on the source.
    """

    name: str
    about: str
    load: Callable[..., Task]
    sets: tuple[str, ...]
    needs: str
    prompt: str
    filters: str
    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def options(self) -> list[str]:
        """The options of `load_task`."""
        return list(inspect.signature(self.load).parameters)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON has it; `rows` is None where nothing is known of them."""
        return {
            "name": self.name,
            "about": self.about,
            "sets": list(self.sets),
            "rows": dict(self.rows) or None,
            "needs": self.needs,
            "prompt": self.prompt,
            "filters": self.filters,
            "options": self.options,
        }
