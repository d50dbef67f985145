"""Tasks by name."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from genrlhf.data.task import Task
from genrlhf.data.tasks.task_info import TaskInfo
from genrlhf.errors import ConfigError

__all__ = ["TASKS", "get_task_info", "load_task"]

TASKS = ("embedded", "tldr", "alpaca_farm", "super_natural_instructions", "open_ended")
"""The tasks; each is `TASK` in a module of its name."""


def get_task_info(name: str) -> TaskInfo:
    """Return what is known of a task before it is loaded.

    Raises:
        ConfigError: no such task.

    Example:
        >>> get_task_info("embedded").sets
        ('id', 'ood', 'longer', 'unseen_subreddits')
    """
    if name not in TASKS:
        close = difflib.get_close_matches(str(name), TASKS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise ConfigError(f"there is no task {name!r}; {hint}There are {', '.join(map(repr, TASKS))}.")
    info: TaskInfo = importlib.import_module(f"genrlhf.data.tasks.{name}").TASK
    return info


def load_task(name: str, **options: Any) -> Task:
    """Load the task of this name; `genrlhf tasks` lists them.

    Args:
        name: of the task.
        options: arguments of the function that loads it, by name.

    Raises:
        ConfigError: no such task or option.
        DataError: data that cannot be loaded.

    Example:
        >>> task = load_task("embedded", n_demonstrations=100, n_preferences=50)
        >>> len(task.demonstrations), len(task.preferences)
        (100, 50)
    """
    info = get_task_info(name)
    for option in options:
        if option not in info.options:
            close = difflib.get_close_matches(option, info.options, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"the task {name!r} has no option {option!r}; {hint}It has {', '.join(info.options)}.")
    return info.load(**options)
