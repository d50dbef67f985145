"""`genrlhf COMMAND …`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from genrlhf import __version__
from genrlhf.cli import (
    compare,
    data,
    demo,
    diversity,
    judge,
    methods,
    power,
    report,
    sample,
    study,
    tasks,
    train,
    win_rate,
)
from genrlhf.cli.frame import Parser, run_to_the_end
from genrlhf.cli.threads import settle_threads

__all__ = ["build_parser", "main"]


def build_parser() -> Parser:
    """Return the parser of all commands; each sets `run`, from parsed arguments to an exit status."""
    parser = Parser(
        prog="genrlhf",
        description="Fine-tune language models with SFT, PPO and best-of-N, and measure generalisation and diversity.",
    )
    parser.add_argument("--version", action="version", version=f"genrlhf {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo.add_command(commands)
    methods.add_command(commands)
    tasks.add_command(commands)
    train.add_command(commands)
    study.add_command(commands)
    compare.add_command(commands)
    sample.add_command(commands)
    diversity.add_command(commands)
    judge.add_commands(commands)
    data.add_commands(commands)
    win_rate.add_command(commands)
    power.add_command(commands)
    report.add_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, those of the process by default.

    Returns:
        The exit status: 0, 1 after an error that stderr tells in one line, or 130 after Ctrl-C. Wrong usage exits
        with 2.
    """
    settle_threads()
    given = list(sys.argv[1:] if argv is None else argv)
    return run_to_the_end(build_parser(), _of_today(given))


_FORMER = {"export-labelling": "export", "import-labels": "import"}


def _of_today(given: list[str]) -> list[str]:
    """Return the arguments with the former spellings of `judge run`, `judge export` and `judge import` replaced."""
    if given[:1] != ["judge"] or len(given) < 2:
        return given
    word = given[1]
    if word in _FORMER:
        return ["judge", _FORMER[word], *given[2:]]
    option = word.startswith("-") and word not in ("-h", "--help")
    if option or "." in word or os.sep in word or os.path.exists(word):
        return ["judge", "run", *given[1:]]
    return given
