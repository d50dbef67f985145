"""`genrlhf win-rate`."""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json, print_table, say
from genrlhf.errors import ConfigError, DataError, excerpt

if TYPE_CHECKING:
    from genrlhf.metrics.preference import AnnotationWinRate
    from genrlhf.types import Estimate

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "win-rate",
        run,
        help="count win rates from judgements in AlpacaEval's form",
        description="Count the win rate of every model in files of judgements, as AlpacaEval's leaderboard does, in "
        "percent, with a 95 % score interval. The JSON of --compare and --ood has shares.",
        seed="of the sign-flip tests, of --resamples, and of draws and shuffles of --ood",
        reads=("files", "difficulty", "ood"),
    )
    parser.add_argument(
        "files", nargs="+", metavar="ANNOTATIONS", help="judgements: .json or .jsonl, plain or .gz; read as one"
    )
    parser.add_argument("--baseline", help="what the others are compared with (default: generator_1 of all rows)")
    parser.add_argument(
        "--length-controlled", action="store_true", help="also the win rate at equal lengths (Dubois et al. 2024)"
    )
    parser.add_argument(
        "--difficulty",
        metavar="FILE",
        help='rows of "instruction" and "instruction_difficulty", for the win rate at equal lengths',
    )
    parser.add_argument("--matrix", action="store_true", help="every model against every other")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar="MODEL",
        help="the second model's win rate less the first's, instruction by instruction",
    )
    parser.add_argument(
        "--ood",
        nargs="+",
        default=[],
        metavar="[NAME=]ANNOTATIONS",
        help="judgements of the same models out of distribution: the gap to each, and by the size of the shift in "
        "words and length",
    )
    parser.add_argument(
        "--encoder", metavar="MODEL", help="with --ood: sentence encoder of the shift in embeddings (default: none)"
    )
    parser.add_argument(
        "--resamples",
        type=int,
        metavar="N",
        default=0,
        help="take the standard error at equal lengths from N resamples, at least 100 (default: from the fit)",
    )


def run(args: argparse.Namespace) -> int:
    """Count, and print."""
    if args.resamples and args.resamples < 100:
        raise ConfigError(f"--resamples must be at least 100, not {args.resamples}.")
    if sum((args.matrix, bool(args.compare), bool(args.ood))) > 1:
        raise ConfigError("Give one of --matrix, --compare and --ood.")
    if args.encoder is not None and not args.ood:
        raise ConfigError("--encoder measures the shift to the sets of --ood; give those too.")
    shares = next((name for name in ("matrix", "compare", "ood") if getattr(args, name)), None)
    for name in ("length_controlled", "difficulty", "resamples"):
        if shares and getattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')} is of win rates at equal lengths; leave --{shares} out.")
    rows = list(itertools.chain.from_iterable(map(_rows, args.files)))
    show = _matrix if args.matrix else _compare if args.compare else _gaps if args.ood else _win_rates
    found, table = show(args, rows)
    if args.json:
        print_json(found)
        return 0
    print_table(table)
    return 0


Shown = tuple[dict[str, Any], list[list[str]]]


def _rows(file: str) -> list[dict[str, Any]]:
    from genrlhf.data.files import iter_rows

    return [row for _, row in iter_rows(file)]


def _win_rates(args: argparse.Namespace, rows: list[dict[str, Any]]) -> Shown:
    from genrlhf.metrics.preference.counting.annotations import annotation_win_rates

    controlled = args.length_controlled or args.difficulty is not None
    counted = annotation_win_rates(
        rows,
        baseline=args.baseline,
        control_length=controlled,
        difficulty=_difficulty(args.difficulty) if args.difficulty else None,
        resamples=args.resamples,
        seed=args.seed,
    )
    ranked = dict(sorted(counted.items(), key=lambda item: -item[1].win_rate))
    titles = ["model", "win rate", "std. error", "95 %", "wins", "losses", "draws", "total", "unanswered", "length"]
    table = [[*titles, "length-controlled"] if controlled else titles]
    for name, one in ranked.items():
        line = [
            name,
            f"{one.win_rate:.2f}",
            f"{one.standard_error:.2f}",
            f"[{one.ci[0]:.2f}, {one.ci[1]:.2f}]",
            *map(str, (one.n_wins, one.n_wins_base, one.n_draws, one.n_total, one.n_unanswered)),
            "-" if math.isnan(one.avg_length) else f"{one.avg_length:.0f}",
        ]
        if one.length_controlled is not None:
            low, high = one.length_controlled.ci
            line.append(f"{one.length_controlled.value:.2f} [{low:.2f}, {high:.2f}]")
        table.append(line)
    return {name: one.to_dict() for name, one in ranked.items()}, table


def _difficulty(file: str) -> dict[str, float]:
    found = {}
    for number, row in enumerate(_rows(file)):
        value = row.get("instruction_difficulty")
        if (
            not isinstance(row.get("instruction"), str)
            or isinstance(value, bool)
            or not isinstance(value, (int, float))
        ):
            raise DataError(
                f"{file}, row {number} is {excerpt(row)}; give an instruction and its instruction_difficulty, a number."
            )
        found[row["instruction"]] = float(value)
    return found


def _matrix(args: argparse.Namespace, rows: list[dict[str, Any]]) -> Shown:
    from genrlhf.metrics.preference.counting.between_models import head_to_head

    found = head_to_head(rows, seed=args.seed)
    table = [["", *found]]
    for model, others in found.items():
        table.append([model, *(_percent(others[other]) if other in others else "" for other in found)])
    form = {model: {other: one.to_dict() for other, one in others.items()} for model, others in found.items()}
    return form, table


def _percent(one: AnnotationWinRate) -> str:
    return f"{one.win_rate:.1f} [{one.ci[0]:.1f}, {one.ci[1]:.1f}]"


def _compare(args: argparse.Namespace, rows: list[dict[str, Any]]) -> Shown:
    from genrlhf.metrics.preference.counting.between_models import compare_win_rates

    first, second = args.compare
    found = compare_win_rates(rows, first, second, baseline=args.baseline, seed=args.seed)
    line = [f"{second} less {first}", _points(found.difference), f"{found.p_value:.2g}", str(found.difference.n)]
    return {"first": first, "second": second, **found.to_dict()}, [["", "points [95 %]", "p", "instructions"], line]


def _points(estimate: Estimate) -> str:
    low, high = (100 * end for end in estimate.ci)
    return f"{100 * estimate.value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _gaps(args: argparse.Namespace, rows: list[dict[str, Any]]) -> Shown:
    """Return PvR in distribution and on every other set, the gaps, and how they grow with each measure of the shift."""
    from genrlhf.metrics.estimate import proportion_estimate
    from genrlhf.metrics.preference.counting.annotations import collect_annotations
    from genrlhf.metrics.preference.counting.generalisation import gaps_per_shift, generalisation_gaps
    from genrlhf.metrics.shift import MEASURES

    sets = {"id": rows, **_named(args.ood)}
    collected = {name: collect_annotations(given, baseline=args.baseline) for name, given in sets.items()}
    models = [model for model in collected["id"] if all(model in found for found in collected.values())]
    if not models:
        raise DataError("No model is judged on all test sets; give judgements of the same model, by the same name.")
    shifts = _shifts({name: _instructions(given) for name, given in sets.items()}, args)
    measures = [measure for measure in MEASURES if any(measure in each for each in shifts.values())]
    form: dict[str, Any] = {}
    titles = [measure if measure == "embedding" else f"shift of {measure}" for measure in measures]
    table = [["model", "test set", *titles, "win rate [95 %]", "gap [95 %]"]]
    for model in models:
        figures = {name: proportion_estimate(found[model].wins) for name, found in collected.items()}
        inside = figures.pop("id")
        found = generalisation_gaps(inside, figures)
        slopes = gaps_per_shift(inside, figures, shifts)
        form[model] = {
            "win_rate": {name: one.to_dict() for name, one in {"id": inside, **figures}.items()},
            "shift": {name: {m: one.to_dict() for m, one in each.items()} for name, each in shifts.items()},
            "gaps": {name: gap.to_dict() for name, gap in found.gaps.items()},
            "per_shift": {measure: slope.to_dict() for measure, slope in slopes.items()},
        }
        blank = [""] * len(measures)
        table.append([model, "id", *blank, _interval(inside), ""])
        for name, one in figures.items():
            sizes = [f"{shifts[name][measure].value:.3f}" if measure in shifts[name] else "" for measure in measures]
            table.append(["", name, *sizes, _interval(one), _points(found.gaps[name])])
        for measure, slope in slopes.items():
            table.append(["", f"gap per shift of 1 ({measure})", *blank, "", _points(slope)])
    return form, table


def _shifts(instructions: dict[str, list[str]], args: argparse.Namespace) -> dict[str, dict[str, Estimate]]:
    """Return how far every other set is from the one in distribution, by measure, as `genrlhf tasks --shifts` does."""
    from genrlhf.metrics.shift import shift_between

    encoder: Any = None
    if args.encoder is not None:
        from genrlhf.metrics.diversity.embeddings import Embedder

        encoder = Embedder(args.encoder)
    found: dict[str, dict[str, Estimate]] = {}
    for name, texts in instructions.items():
        if name == "id":
            continue
        try:
            found[name] = shift_between(instructions["id"], texts, encoder=encoder, seed=args.seed).measured()
        except DataError as error:
            say(f"how far {name} is from id is not known: {error}")
            found[name] = {}
    return found


def _interval(estimate: Estimate) -> str:
    low, high = (100 * end for end in estimate.ci)
    return f"{100 * estimate.value:.2f} [{low:.2f}, {high:.2f}]"


def _named(files: list[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for given in files:
        name, equals, file = given.partition("=")
        if not equals:
            name, file = "stdin" if given == "-" else Path(given).name.split(".")[0], given
        if not name or name == "id" or name in found:
            raise ConfigError(f"--ood {given} needs a name of its own, as in cnn=annotations.jsonl, that is not id.")
        found[name] = _rows(file)
    return found


def _instructions(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(row.get("instruction", "")) for row in rows))
