"""`genrlhf tasks`."""

from __future__ import annotations

import argparse
from typing import Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json, print_table

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    add(
        commands,
        "tasks",
        run,
        help="list the tasks that models are trained and evaluated on",
        description="List the tasks that `load_task` and `task:` of a study know: their evaluation sets, their sizes "
        "by default and what they need. Nothing is loaded. With --json also the form of prompts, filters and options.",
    )


def run(args: argparse.Namespace) -> int:
    """Print the registry."""
    from genrlhf.data.tasks.registry import TASKS, get_task_info

    tasks = [get_task_info(name) for name in TASKS]
    if args.json:
        print_json({task.name: task.to_dict() for task in tasks})
        return 0
    rows = [(task.name, ", ".join(task.sets), _sizes(task.rows), task.needs) for task in tasks]
    print_table([("task", "evaluation sets", "rows", "needs"), *rows])
    return 0


def _sizes(rows: Any) -> str:
    parts = {"demonstrations", "preferences", "prompts"}
    return ", ".join(f"{n} {name}" for name, n in rows.items() if name in parts) or "unknown until loaded"
