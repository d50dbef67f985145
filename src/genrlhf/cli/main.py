"""`genrlhf COMMAND …`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from genrlhf import __version__
from genrlhf.cli import demo, diversity, judge, sample, win_rate
from genrlhf.cli._labelling import add_export, add_import
from genrlhf.cli._validate import add_validate
from genrlhf.errors import GenRLHFError

__all__ = ["main"]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `run`, from parsed arguments to an exit status."""
    parser = argparse.ArgumentParser(
        prog="genrlhf",
        description="Fine-tune language models with SFT, PPO and best-of-N, and measure generalisation and diversity.",
    )
    parser.add_argument("--version", action="version", version=f"genrlhf {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo.add_command(commands)
    sample.add_command(commands)
    diversity.add_command(commands)
    judge.add_command(commands)
    for add in (add_validate, add_export, add_import):
        add(commands)
    win_rate.add_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments, those of the process by default.

    Returns:
        The exit status: 0, or 1 after an error that stderr tells in one line. Wrong usage exits with 2.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    # `judge` takes files and has commands of its own, which argparse cannot do at once.
    if given[:1] == ["judge"] and given[1:2] and given[1] in ("validate", "export-labelling", "import-labels"):
        given[:2] = [" ".join(given[:2])]
    args = build_parser().parse_args(given)
    try:
        status: int = args.run(args)
    except GenRLHFError as error:
        print(f"genrlhf: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"genrlhf: {error.filename}: {error.strerror}; choose another place, or make room.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("genrlhf: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    return status
