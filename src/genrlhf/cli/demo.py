"""`genrlhf demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.study import number_of_jobs
from genrlhf.cli.terminal import print_json
from genrlhf.cli.threads import allowed_processors

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "demo",
        run,
        help="train SFT, reward model and PPO on a small built-in task, sample best-of-16, and compare them",
        description="Train SFT, reward model and PPO on the embedded summarisation task, sample best-of-16, and "
        "compare generalisation and diversity. Takes a minute and a half on two free cores and needs no network. A "
        "second run with the same folder goes on where the first stopped.",
        seed="of task, training and sampling",
        folders=("output_dir",),
        kept=_kept,
    )
    parser.add_argument("--output-dir", default="demo", help="where everything goes (default: demo)")
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=number_of_jobs,
        help="train and sample up to N models at a time (default: 2; 1 on one processor or with an accelerator); the "
        "figures do not depend on it",
    )


def _kept(args: argparse.Namespace) -> str | None:
    if not Path(args.output_dir).is_dir():
        return None
    return f"stages that had ended are in {args.output_dir}; the same command goes on from there."


def run(args: argparse.Namespace) -> int:
    """Run the demo and print its table, or its figures as JSON."""
    from genrlhf.studies.demo import demo_summary, run_demo

    jobs = 1 if args.jobs is None and allowed_processors() == 1 else args.jobs
    figures = run_demo(args.output_dir, seed=args.seed, jobs=jobs)
    if args.json:
        print_json(figures)
    else:
        print(demo_summary(figures))
    return 0
