"""`genrlhf methods`."""

from __future__ import annotations

import argparse
from typing import Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json, print_table, say
from genrlhf.errors import ConfigError

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    add(
        commands,
        "methods",
        run,
        help="list the methods that models can be trained with",
        description="List the methods that `genrlhf train` knows: the package's, and those that installed packages "
        "offer under the entry point genrlhf.methods.",
    )


def run(args: argparse.Namespace) -> int:
    """Print the registry; of methods of broken packages it is said that they are."""
    from genrlhf.methods import METHODS, get_method, method_names

    methods = {}
    for name in method_names():
        try:
            methods[name] = get_method(name)
        except ConfigError as error:
            if name in METHODS:
                raise
            say(error)
    if args.json:
        print_json({name: method.to_dict() for name, method in methods.items()})
        return 0
    rows = [(name, m.label, m.loop, ", ".join(m.needs), m.paper) for name, m in methods.items()]
    print_table([("method", "label", "loop", "needs", "source"), *rows])
    return 0
