"""`genrlhf data`: data made by models."""

from __future__ import annotations

from types import ModuleType
from typing import Any

__all__ = ["add_commands"]

_COMMANDS: tuple[ModuleType, ...] = ()
"""Each has `add_command`."""


def add_commands(commands: Any) -> None:
    """Add the group and its commands to the subparsers."""
    if not _COMMANDS:
        return
    group = commands.add_parser(
        "data",
        help="make data with models: preferences, instructions",
        description="Make data to train on with models in place of people.",
    )
    actions = group.add_subparsers(dest="action", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_command(actions)
