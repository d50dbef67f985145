"""`genrlhf win-rate`."""

from __future__ import annotations

import argparse
import itertools
import json
from typing import Any

from genrlhf.errors import ConfigError

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "win-rate",
        help="count win rates from judgements in AlpacaEval's form",
        description="Count the win rate of every model in files of judgements, as AlpacaEval's leaderboard does, in "
        "percent, with a 95 %% bootstrap interval.",
    )
    parser.add_argument(
        "files", nargs="+", metavar="ANNOTATIONS", help="judgements: .json or .jsonl, plain or .gz; read as one"
    )
    parser.add_argument("--baseline", help="what the others are compared with (default: generator_1 of all rows)")
    parser.add_argument(
        "--length-controlled", action="store_true", help="also the win rate at equal lengths (Dubois et al. 2024)"
    )
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count, and print."""
    from genrlhf.data.files import iter_rows
    from genrlhf.metrics.preference.annotations import annotation_win_rates

    if args.resamples < 100:
        raise ConfigError(f"--resamples must be at least 100, not {args.resamples}.")
    rows = itertools.chain.from_iterable((row for _, row in iter_rows(file)) for file in args.files)
    found = annotation_win_rates(
        rows,
        baseline=args.baseline,
        control_length=args.length_controlled,
        resamples=args.resamples,
        seed=args.seed,
    )
    ranked = sorted(found.items(), key=lambda item: -item[1].win_rate)
    if args.json:
        print(json.dumps({name: one.to_dict() for name, one in ranked}, allow_nan=False))
        return 0
    titles = ["model", "win rate", "std. error", "95 %", "wins", "losses", "draws", "total", "unanswered", "length"]
    table = [[*titles, "length-controlled"] if args.length_controlled else titles]
    for name, one in ranked:
        line = [
            name,
            f"{one.win_rate:.2f}",
            f"{one.standard_error:.2f}",
            f"[{one.ci[0]:.2f}, {one.ci[1]:.2f}]",
            *map(str, (one.n_wins, one.n_wins_base, one.n_draws, one.n_total, one.n_unanswered)),
            f"{one.avg_length:.0f}",
        ]
        if one.length_controlled is not None:
            low, high = (100 * end for end in one.length_controlled.ci)
            line.append(f"{100 * one.length_controlled.value:.2f} [{low:.2f}, {high:.2f}]")
        table.append(line)
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0
