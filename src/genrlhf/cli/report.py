"""`genrlhf report`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json
from genrlhf.errors import ConfigError, printable

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "report",
        run,
        help="write the results of a study or comparison as one page",
        description="Write what a study or a comparison found as one HTML file that needs no network: tables that "
        "sort, plots of quality against diversity, the outputs of all methods side by side, and how it was made.",
        writes=("output",),
    )
    parser.add_argument("folder", metavar="FOLDER", help="where results.json lies, with the outputs that it lists")
    parser.add_argument("--output", metavar="FILE", help="where the page goes (default: report.html in FOLDER)")
    parser.add_argument(
        "--inputs",
        type=int,
        metavar="N",
        help="inputs of every evaluation set that the page has, each with all its outputs; 0 leaves outputs out "
        "(default: 100, or as many as take 12 million characters)",
    )
    parser.add_argument(
        "--study",
        metavar="FILE",
        help="the YAML file of the study in FOLDER, whose report then has what was measured by now, finished or not",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page and say what it has."""
    if args.output is not None and not args.output.endswith((".html", ".htm")):
        raise ConfigError(f"--output {args.output} must end in .html.")
    if args.inputs is not None and args.inputs < 0:
        raise ConfigError(f"--inputs must be 0 or more, not {args.inputs}.")

    from genrlhf.studies.report import write_report

    with contextlib.redirect_stdout(sys.stderr):
        made = write_report(args.folder, args.output, inputs=args.inputs, study=args.study)
    if args.json:
        print_json(made)
        return 0
    shown = ", ".join(f"{one['shown']} of {one['total']} inputs of {name}" for name, one in made["inputs"].items())
    print(
        f"{printable(Path(made['output']))}: {made['methods']} methods, {printable(shown) or 'no outputs'}, "
        f"{made['bytes'] / 1e6:.1f} MB"
    )
    return 0
