"""`genrlhf judge run`, `validate`, `export` and `import`."""

from __future__ import annotations

from typing import Any

from genrlhf.cli.judge import labelling, run, validate

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the group and its commands to the subparsers."""
    group = commands.add_parser(
        "judge",
        help="have a judge compare two models' outputs, and compare it with humans",
        description="Have a language model or reward model say which of two outputs is better, and compare it with "
        "humans who labelled the same pairs.",
    )
    actions = group.add_subparsers(dest="action", metavar="COMMAND", required=True)
    run.add_command(actions)
    validate.add_command(actions)
    labelling.add_export(actions)
    labelling.add_import(actions)
