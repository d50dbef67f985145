"""`genrlhf power`."""

from __future__ import annotations

import argparse
from itertools import combinations
from typing import Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.reading import READS, add_reading_options, read_outputs
from genrlhf.cli.terminal import print_json, print_table, say
from genrlhf.data.files import STDIN, named
from genrlhf.errors import ConfigError, DataError

__all__ = ["add_command"]

Shown = tuple[dict[str, Any], list[list[str]]]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "power",
        run,
        help="how many inputs and samples a difference of a given size needs",
        description="Say how many inputs it takes to see a difference: so that its 95 % interval leaves out 0 in 80 % "
        "of all studies (or --power). From outputs of one model, or of two for the same prompts, it says so of "
        "per-input diversity, for several numbers of samples of an input; from judgements in AlpacaEval's form, of a "
        "win rate against 50 %, and of two models' against one baseline.",
        seed="of the simulations",
        reads=("files", *READS),
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="outputs of a model, or those of two, or judgements of any models"
    )
    parser.add_argument(
        "--difference",
        type=float,
        required=True,
        metavar="D",
        help="what shall be seen, in units of the metric; of win rates a share, 0.05 being 5 points",
    )
    parser.add_argument("--metric", default="ead", help="of diversity, by its name (default: %(default)s)")
    parser.add_argument(
        "--samples",
        metavar="K,K,…",
        help="numbers of samples of an input (default: the powers of two, and all that the file has)",
    )
    parser.add_argument(
        "--power", type=float, default=0.8, metavar="P", help="share of studies that see it (default: %(default)s)"
    )
    parser.add_argument(
        "--win-rate",
        action="store_true",
        help='the files hold judgements (default: told by a "preference" in the first row of a file)',
    )
    parser.add_argument("--baseline", help="of judgements: what models are compared with (default: generator_1)")
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, and print what it takes."""
    form, table = _of_win_rates(args) if args.win_rate or _judged(args.files[0]) else _of_diversity(args)
    if args.json:
        print_json({"difference": args.difference, "power": args.power, **form})
    else:
        print_table(table)
    return 0


def _judged(file: str) -> bool:
    """Say whether a file holds judgements; what can be read once only, and other kinds of files, are outputs."""
    from genrlhf.data.files import SUFFIXES, iter_rows

    if file == STDIN or not file.endswith(SUFFIXES):
        return False
    return next((("preference" in row) for _, row in iter_rows(file)), False)


def _of_diversity(args: argparse.Namespace) -> Shown:
    from genrlhf.metrics.diversity.catalogue import MetricOptions, build_metrics
    from genrlhf.metrics.power import diversity_inputs_needed

    if len(args.files) > 2:
        raise ConfigError(f"There are {len(args.files)} files of outputs; give one, or two of the same prompts.")
    ((name, metric),) = build_metrics([args.metric], MetricOptions()).items()
    notes: list[str] = []
    sides = [_outputs(file, args, notes) for file in args.files]
    if len(sides) == 2:
        sides[1] = _in_order(sides[0], sides[1], args.files)
    for note in notes:
        say(note)
    found = diversity_inputs_needed(
        [outputs for _, outputs in sides[0]],
        metric,
        args.difference,
        second=[outputs for _, outputs in sides[1]] if len(sides) == 2 else None,
        samples=_numbers(args.samples) if args.samples else None,
        power=args.power,
        seed=args.seed,
    )
    same = "same inputs" if len(sides) == 2 else "same inputs, at least"
    table = [["samples", same, "other inputs, each", "sd of differences", "sd of inputs"]]
    for one in found:
        counts = ["–" if count is None else str(count) for count in (one.same_inputs, one.other_inputs)]
        spreads = ["–" if sd is None else f"{sd:.4g}" for sd in (one.sd_same, one.sd_other)]
        table.append([str(one.samples), *counts, *spreads])
    return {"metric": name, "inputs": len(sides[0]), "needed": [vars(one) for one in found]}, table


def _outputs(file: str, args: argparse.Namespace, notes: list[str]) -> list[tuple[Any, list[str]]]:
    rows = [(row.get("prompt"), row["outputs"]) for _, row in read_outputs(file, args, notes)]
    if not rows:
        raise DataError(f"{named(file)} holds no rows; write one JSON object a row.")
    return rows


def _in_order(
    first: list[tuple[Any, list[str]]], second: list[tuple[Any, list[str]]], files: list[str]
) -> list[tuple[Any, list[str]]]:
    places = {repr(prompt): row for row, (prompt, _) in enumerate(second)}
    asked = [repr(prompt) for prompt, _ in first]
    if set(asked) != set(places) or len(places) != len(second) or len(asked) != len(second):
        raise DataError(
            f"{named(files[0])} and {named(files[1])} do not hold the same prompts, each once; give those "
            "of two models for the same prompts."
        )
    return [second[places[prompt]] for prompt in asked]


def _numbers(text: str) -> list[int]:
    try:
        return sorted({int(number) for number in text.split(",")})
    except ValueError:
        raise ConfigError(f"--samples {text} must be whole numbers with commas between them, as in 4,16.") from None


def _of_win_rates(args: argparse.Namespace) -> Shown:
    from genrlhf.data.files import iter_rows
    from genrlhf.metrics.power import shares_needed
    from genrlhf.metrics.preference.counting.annotations import collect_annotations
    from genrlhf.metrics.preference.counting.between_models import compare_win_rates

    rows = [row for file in args.files for _, row in iter_rows(file)]
    found = {name: one for name, one in collect_annotations(rows, baseline=args.baseline).items() if len(one.wins) > 0}
    settings = {"power": args.power, "seed": args.seed}
    form: dict[str, Any] = {"against_half": {}, "between_models": {}}
    table = [["", "comparisons", "ties there", "sd there"]]
    for name, one in found.items():
        needed = shares_needed(one.wins, args.difference, **settings)
        ties = float((one.wins == 0.5).mean())
        form["against_half"][name] = {"comparisons": needed, "ties": ties, "sd": float(one.wins.std())}
        table.append([f"{name} against 50 %", str(needed), f"{100 * ties:.0f} %", f"{one.wins.std():.3f}"])
    for first, second in combinations(found, 2):
        if not set(found[first].instructions) & set(found[second].instructions):
            continue
        apart = compare_win_rates(rows, first, second, baseline=args.baseline, seed=args.seed).difference.values
        needed = shares_needed(apart, args.difference, null=0.0, low=-1.0, **settings)
        name, ties = f"{second} less {first}", float((apart == 0).mean())
        form["between_models"][name] = {"comparisons": needed, "ties": ties, "sd": float(apart.std())}
        table.append([f"{name}, same instructions", str(needed), f"{100 * ties:.0f} %", f"{apart.std():.3f}"])
    return form, table
