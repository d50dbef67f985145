"""`genrlhf data annotate`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.reading import READS, add_reading_options, read_outputs
from genrlhf.cli.terminal import print_json, print_table, say
from genrlhf.errors import ConfigError, DataError, JudgeError, excerpt, printable

if TYPE_CHECKING:
    from genrlhf.annotators import AnnotationFigures, AnnotatorFigures, AnnotatorPool, OutputPair
    from genrlhf.types import Estimate, Judge

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "annotate",
        run,
        help="have a pool of judges label preferences, as people would",
        description="Have a pool of simulated annotators (AlpacaFarm, Dubois et al. 2023), judges with prompts, "
        "temperatures and noise of their own, say which of two outputs is better, and write the preferences as they "
        "are trained on. Answers are kept: the same command goes on where it stopped and pays for no answer twice.",
        seed="of all that is drawn: pairs, annotators, noise, which output is shown first",
        output="where the preferences go: rows of prompt, chosen and rejected",
        default_output="preferences.jsonl",
        reads=("files", *READS),
        writes=("annotations", "store"),
        kept=_kept,
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="outputs of one model, several of every prompt, among which pairs are drawn; or of two models",
    )
    parser.add_argument(
        "--preferences",
        action="store_true",
        help='the one file holds preferences ("prompt", "chosen", "rejected"), to be labelled anew',
    )
    parser.add_argument("--pool", required=True, metavar="YAML", help="the annotators; see the page of this command")
    parser.add_argument("--pairs-per-prompt", type=int, metavar="N", help="of the outputs of one model (default: 1)")
    parser.add_argument(
        "--n-annotators", type=int, default=1, metavar="N", help="who label each pair (default: %(default)s)"
    )
    parser.add_argument(
        "--keep",
        choices=("majority", "all"),
        default="majority",
        help="of several annotators: a row a pair, or a row of each of them (default: %(default)s)",
    )
    parser.add_argument(
        "--order",
        choices=("random", "both"),
        default="random",
        help="draw which output is shown first, or ask in both orders, where other answers make a tie (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        metavar="P",
        help="the share of all annotators' labels that are flipped, in place of the pool's; 0 to evaluate",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first so many rows")
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="where all labels go in AlpacaEval's form, ties and missing ones with their reasons (default: beside "
        "--output)",
    )
    parser.add_argument("--store", help="where the judges' answers are kept (default: beside --output)")
    parser.add_argument("--budget", type=float, help="stop before more than this could be spent in this run")
    parser.add_argument("--dry-run", action="store_true", help="say what it would take at most, and ask nothing")
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Annotate, and say what came of it."""
    from genrlhf.annotators import annotation_figures, read_pool
    from genrlhf.data.files import SUFFIXES, write_rows

    args.annotations = args.annotations or _beside(args.output, "annotations")
    for name in ("output", "annotations"):
        if not getattr(args, name).endswith(SUFFIXES):
            raise ConfigError(f"--{name} {getattr(args, name)} must end in {', '.join(SUFFIXES)}.")
    if Path(args.annotations).expanduser() == Path(args.output).expanduser():
        raise ConfigError("--annotations and --output name one file; name another.")
    notes: list[str] = []
    pairs = _pairs(args, notes)
    for note in notes:
        say(note)
    pool = read_pool(args.pool, seed=args.seed, noise=args.noise, store=_store(args), report=say)
    if args.dry_run:
        return _estimate(args, pool, pairs)
    from tqdm.auto import tqdm

    options: dict[str, Any] = {"n_annotators": args.n_annotators, "order": args.order}
    with tqdm(total=pool.calls(pairs, **options), desc="labels", disable=None) as bar:

        def watch(judge: Judge) -> None:
            watched = getattr(judge, "endpoint", judge)
            if hasattr(watched, "progress"):
                watched.progress = bar.update

        annotated = pool.annotate(pairs, **options, budget=args.budget, watch=watch)
    rows = annotated.preferences(keep=args.keep)
    annotations = annotated.annotations()
    figures = annotation_figures(annotated)
    write_rows(annotations, args.annotations)
    if figures.all.spent is not None and figures.all.spent.failed:
        failed = figures.all.spent
        say(
            f"{failed.failed} calls were not answered, the last for this: {failed.last_error}; the same command asks "
            "for them again."
        )
    if not rows:
        reason = next((row["reason"] for row in annotations if row["reason"]), "all are ties")
        raise JudgeError(
            f"None of the {len(pairs)} pairs has a preference ({excerpt(reason, 300)}); {args.annotations} has what "
            "the annotators said."
        )
    write_rows(rows, args.output)
    if args.json:
        print_json({**figures.to_dict(), "rows": len(rows), "output": args.output, "annotations": args.annotations})
    else:
        _print(figures, len(rows), args)
    return 0


def _beside(output: str, what: str) -> str:
    name = Path(output).name
    stem, dot, suffixes = name.partition(".jsonl") if ".jsonl" in name else name.partition(".json")
    return str(Path(output).with_name(f"{stem}.{what}{dot}{suffixes}"))


def _store(args: argparse.Namespace) -> str:
    return args.store or f"{args.output}.answers.sqlite"


def _kept(args: argparse.Namespace) -> str | None:
    if not Path(_store(args)).is_file():
        return None
    return f"the answers that have come are in {_store(args)}; the same command goes on from there."


def _pairs(args: argparse.Namespace, notes: list[str]) -> list[OutputPair]:
    from genrlhf.annotators import pairs_from_models, pairs_from_samples, pairs_to_relabel
    from genrlhf.data.files import iter_rows, named
    from genrlhf.metrics.preference.validating.matching import said

    if len(args.files) > 2 or (args.preferences and len(args.files) > 1):
        raise ConfigError("Give outputs of one or of two models, or one file and --preferences.")
    if args.pairs_per_prompt is not None and (args.preferences or len(args.files) > 1):
        raise ConfigError("--pairs-per-prompt is for the outputs of one model.")
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {args.limit}.")
    first = args.files[0]
    if args.preferences:
        placed = ((f"{named(first)}, {place}", row) for place, row in iter_rows(first))
        return pairs_to_relabel(_first(placed, args.limit), notes=notes)
    if len(args.files) == 1:
        rows = _first(read_outputs(first, args, notes), args.limit)
        return pairs_from_samples(
            rows,
            per_prompt=1 if args.pairs_per_prompt is None else args.pairs_per_prompt,
            seed=args.seed,
            name=_name(first),
            notes=notes,
        )
    names = (_name(first), _name(args.files[1]))
    one, other = (list(read_outputs(file, args, notes)) for file in args.files)
    if args.limit is not None:
        one = one[: args.limit]
        wanted = {said(row["prompt"], place) for place, row in one}
        other = [placed for placed in other if said(placed[1]["prompt"], placed[0]) in wanted]
    return pairs_from_models(one, other, names=names if names[0] != names[1] else tuple(args.files), notes=notes)


def _first(rows: Iterator[tuple[str, dict[str, Any]]], limit: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    some = False
    for number, row in enumerate(rows):
        if number == limit:
            return
        some = True
        yield row
    if not some:
        raise DataError("The file holds no rows; write one JSON object a row.")


def _name(file: str) -> str:
    return "stdin" if file == "-" else Path(file).name.split(".")[0]


def _estimate(args: argparse.Namespace, pool: AnnotatorPool, pairs: list[OutputPair]) -> int:
    most = pool.estimate(pairs, n_annotators=args.n_annotators, order=args.order)
    costs = [one.cost for one in most.values() if one.cost is not None]
    figures = {
        "pairs": len(pairs),
        "calls": sum(one.answered for one in most.values()),
        "stored": sum(one.stored for one in most.values()),
        "most_prompt_tokens": sum(one.prompt_tokens for one in most.values()),
        "most_completion_tokens": sum(one.completion_tokens for one in most.values()),
        "most_cost": sum(costs) if costs else None,
    }
    if args.json:
        print_json(figures)
    else:
        cost = "" if not costs else f", which cost {figures['most_cost']:.4g} at most"
        print(
            f"{figures['calls']} calls for {len(pairs)} pairs, with at most {figures['most_prompt_tokens']} prompt and "
            f"{figures['most_completion_tokens']} completion tokens{cost}; {figures['stored']} are answered already."
        )
    return 0


def _print(figures: AnnotationFigures, rows: int, args: argparse.Namespace) -> None:
    header = ["annotator", "pairs", "at random", "ties", "no answer", "first shown, %", "longer, %", "tokens", "cost"]
    lines = [[name, *_cells(one)] for name, one in figures.annotators.items()]
    print_table([header, *lines, *([["all", *_cells(figures.all)]] if len(lines) > 1 else [])])
    print()
    print(f"{figures.labelled} of {figures.pairs} pairs have a preference: {rows} rows in {printable(args.output)}")
    for reason, count in list(figures.unlabelled.items())[:5]:
        print(f"    {count} without: {printable(reason)}")
    if figures.longer_chosen is not None:
        print(
            f"chosen outputs have {figures.length_chosen:.0f} characters, rejected ones {figures.length_rejected:.0f}; "
            f"the chosen one is longer in {_percent(figures.longer_chosen)} %"
        )
    if figures.agreement is not None:
        kappa = "" if figures.fleiss_kappa is None else f", Fleiss' kappa {figures.fleiss_kappa:.2f}"
        alpha = "" if figures.krippendorff_alpha is None else f", Krippendorff's alpha {figures.krippendorff_alpha:.2f}"
        print(f"two annotators of a pair agree in {_percent(figures.agreement)} %{kappa}{alpha}")
    if figures.all.flip_rate is not None:
        print(f"the order changed the verdict in {100 * figures.all.flip_rate:.1f} %")
    if figures.as_before is not None:
        print(f"labels choose what was chosen before in {_percent(figures.as_before)} %")
    spent = figures.all.spent
    if spent is not None:
        print(f"{spent.answered} calls now, {spent.stored} answers were there; ", end="")
    print(f"all labels in {printable(args.annotations)}")


def _cells(one: AnnotatorFigures) -> list[str]:
    spent = one.spent
    tokens = "" if spent is None or not spent.attempts else f"{spent.prompt_tokens} + {spent.completion_tokens}"
    cost = "" if spent is None or spent.cost is None else f"{spent.cost:.4g}"
    return [
        *(str(n) for n in (one.pairs, one.at_random, one.ties, one.unanswered)),
        _percent(one.first_shown_wins),
        _percent(one.longer_wins),
        tokens,
        cost,
    ]


def _percent(share: Estimate | None) -> str:
    if share is None:
        return ""
    low, high = share.ci
    return f"{100 * share.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
