"""`genrlhf data annotate`."""

from __future__ import annotations

from typing import Any

from genrlhf.cli.data import annotate, self_instruct

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the group and its commands to the subparsers."""
    group = commands.add_parser(
        "data",
        help="make data to train on with models in place of people",
        description="Make data to train on with models in place of people.",
    )
    actions = group.add_subparsers(dest="action", metavar="COMMAND", required=True)
    annotate.add_command(actions)
    self_instruct.add_command(actions)
