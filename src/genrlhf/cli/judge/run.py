"""`genrlhf judge run`."""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.judge.choosing import choose_judge, spent_by, watch
from genrlhf.cli.judge.comparisons import ComparedOutputs, read_models, read_preferences, read_references
from genrlhf.cli.judge.report import print_judged
from genrlhf.cli.reading import READS, add_reading_options
from genrlhf.cli.terminal import print_json, say
from genrlhf.errors import ConfigError, JudgeError, excerpt
from genrlhf.metrics.preference.judging.templates import ANSWERS, TASKS

if TYPE_CHECKING:
    from genrlhf.cli.judge.choosing import ChosenJudge
    from genrlhf.metrics.preference import JudgeAnswer

__all__ = ["add_command"]

_REASONS = 5
"""Of comparisons without an answer that are shown, the most common ones."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "run",
        run,
        help="have a language model compare two models' outputs",
        description="Ask a model behind an OpenAI-compatible endpoint which of two outputs is better, for every "
        "prompt, and write the judgements in AlpacaEval's form. The key is read from OPENAI_API_KEY. Answers are kept, "
        "so that the same command goes on where it stopped and pays for no answer twice.",
        seed="of the order",
        output="where the judgements go: .jsonl, or .json as AlpacaEval writes them",
        default_output="annotations.jsonl",
        reads=("first", "second", "known", *READS),
        writes=("store",),
        kept=_kept,
    )
    parser.add_argument("first", help="outputs of one model, such as the reference model")
    parser.add_argument("second", nargs="?", help="outputs of the other model, whose win rate is counted")
    parser.add_argument(
        "--references", action="store_true", help='compare the one file with the "reference" of its rows instead'
    )
    parser.add_argument(
        "--preferences",
        action="store_true",
        help='the one file holds human preferences ("prompt", "chosen", "rejected"); the win rate is the agreement',
    )
    parser.add_argument("--model", help="what the endpoint calls the judge (default: that of --alpaca-eval)")
    parser.add_argument("--base-url", help="of the endpoint (default: OPENAI_BASE_URL, or OpenAI's own)")
    parser.add_argument("--local-model", help="judge with a model on this machine: a hub name or folder")
    parser.add_argument("--reward-model", help="judge by the scores of a reward model: a hub name or folder")
    parser.add_argument(
        "--task",
        choices=TASKS,
        default="instructions",
        help="what the outputs are (default: %(default)s)",
    )
    parser.add_argument(
        "--answer",
        choices=ANSWERS,
        default="ranking",
        help="how the judge answers (default: %(default)s)",
    )
    parser.add_argument(
        "--alpaca-eval", metavar="DIR", help="take template and parser from one of AlpacaEval's configuration folders"
    )
    parser.add_argument(
        "--order",
        choices=("random", "both", "alpaca_eval"),
        default="random",
        help="draw which output is shown first, ask in both orders, or draw as AlpacaEval does (default: %(default)s)",
    )
    parser.add_argument("--limit", type=int, help="only the first so many prompts")
    parser.add_argument("--names", nargs=2, metavar="NAME", help="of the two models (default: those of the files)")
    parser.add_argument(
        "--known",
        nargs="+",
        default=[],
        metavar="ANNOTATIONS",
        help="judgements of the same judge that are there already, such as AlpacaEval's annotations.json; these pairs "
        "are not asked for",
    )
    parser.add_argument(
        "--max-tokens",
        type=partial(_number_or_none, number=int),
        metavar="N",
        default="auto",
        help="tokens of an answer with all that is thought before it, or none to leave that to the endpoint (default: "
        "the template's, and room for thinking for a model that is known to think, or turns out to)",
    )
    parser.add_argument(
        "--temperature",
        type=partial(_number_or_none, number=float),
        metavar="X",
        default="auto",
        help="of the answers, or none to send no temperature (default: 0, or 1 for --answer logprobs; none for "
        "OpenAI's reasoning models)",
    )
    parser.add_argument(
        "--reasoning-effort", metavar="EFFORT", help="how long a reasoning model thinks, such as low (default: its own)"
    )
    parser.add_argument(
        "--extra-body",
        type=_object,
        metavar="JSON",
        help="further fields of every request, an object; null for one that is not to be sent",
    )
    parser.add_argument("--store", help="where the answers are kept (default: beside --output)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests in flight (default: %(default)s)")
    parser.add_argument("--max-retries", type=int, default=8, help="attempts after the first (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds an attempt may take in all (default: %(default)s)"
    )
    parser.add_argument(
        "--prices", nargs=2, type=float, metavar="PRICE", help="of a million prompt and a million completion tokens"
    )
    parser.add_argument("--budget", type=float, help="stop before more than this could be spent in this run")
    parser.add_argument("--dry-run", action="store_true", help="say what it would take at most, and ask nothing")
    add_reading_options(parser)


def _number_or_none(text: str, number: Callable[[str], Any]) -> Any:
    """Parse a number, "none" or "auto"."""
    if text.lower() in ("none", "null", "auto"):
        return "auto" if text.lower() == "auto" else None
    try:
        return number(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, none or auto, not {excerpt(text, 40)}") from None


def _object(text: str) -> dict[str, Any]:
    """Parse an object of JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"is no JSON ({excerpt(str(error))}): {excerpt(text, 40)}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'must be an object, such as {{"top_p": 0.9}}, not {excerpt(text, 40)}')
    return found


def run(args: argparse.Namespace) -> int:
    """Judge, and say what came of it."""
    from genrlhf.data.files import SUFFIXES, iter_rows, write_rows
    from genrlhf.metrics.preference.counting.annotations import annotation_win_rates, known_preferences
    from genrlhf.metrics.preference.judging.comparisons import judge_comparisons

    if not args.output.endswith(SUFFIXES):
        raise ConfigError(f"--output {args.output} must end in {', '.join(SUFFIXES)}.")
    compared = _compared(args)
    names = (args.names[0], args.names[1]) if args.names else compared.names
    known = known_preferences(itertools.chain.from_iterable((row for _, row in iter_rows(f)) for f in args.known))
    judge, annotator = choose_judge(args, _store(args))
    if args.dry_run:
        return _estimate(args, judge, compared, known)
    from tqdm.auto import tqdm

    calls = len(compared.prompts) * (2 if args.order == "both" else 1)
    with tqdm(total=calls, desc="judgements", disable=None) as bar:
        watch(judge, bar.update)
        judged = judge_comparisons(
            compared.prompts, compared.first, compared.second, judge, order=args.order, seed=args.seed, known=known
        )
    answers: list[JudgeAnswer] = getattr(judge, "answers", [])
    rows = judged.to_annotations(names, annotator, answers)
    for row, dataset in zip(rows, compared.datasets, strict=True):
        if dataset is not None:
            row["dataset"] = dataset
    write_rows(rows, args.output)
    spent = spent_by(judge)
    if spent.get("failed"):
        say(
            f"{spent['failed']} calls were not answered, the last for this: {spent.pop('last_error')}; the same "
            "command asks for them again."
        )
    reasons = dict(Counter(row["reason"] for row in rows if row["reason"] is not None).most_common(_REASONS))
    if not any(row["preference"] is not None for row in rows):
        raise JudgeError(
            f"None of the {len(rows)} comparisons has an answer that can be read, such as "
            f"{excerpt(answers[0].text if answers else None)} ({excerpt(next(iter(reasons), 'no answer'), 300)}); use "
            "another judge or form of answer."
        )
    figures = annotation_win_rates(rows, baseline=names[0], control_length=True, seed=args.seed)[names[1]].to_dict()
    unreadable = sum(answer.text is not None and answer.preference is None for answer in answers)
    print_judged(args, names, figures, judged, {**spent, "unreadable": unreadable, "reasons": reasons})
    return 0


def _store(args: argparse.Namespace) -> str:
    return args.store or f"{args.output}.answers.sqlite"


def _kept(args: argparse.Namespace) -> str | None:
    if not Path(_store(args)).is_file():
        return None
    return f"the answers that have come are in {_store(args)}; the same command goes on from there."


def _compared(args: argparse.Namespace) -> ComparedOutputs:
    if sum((bool(args.second), args.references, args.preferences)) != 1:
        raise ConfigError("Give outputs of two models, or of one and --references, or one file and --preferences.")
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {args.limit}.")
    if args.second:
        return read_models(args.first, args.second, args)
    return (read_references if args.references else read_preferences)(args.first, args)


def _estimate(
    args: argparse.Namespace,
    judge: ChosenJudge,
    compared: ComparedOutputs,
    known: dict[tuple[str, str, str], float],
) -> int:
    from genrlhf.metrics.preference.judging.comparisons import shown_orders
    from genrlhf.metrics.preference.judging.openai_judge import OpenAIJudge

    if not isinstance(judge, OpenAIJudge):
        raise ConfigError("--dry-run prices the calls of an endpoint; a judge on this machine has none.")
    rows = [
        row
        for row in dict.fromkeys(zip(compared.prompts, compared.first, compared.second, strict=True))
        if row not in known and row[1] != row[2]
    ]
    columns = [[row[column] for row in rows] for column in range(3)]
    rounds = shown_orders(columns[0], columns[1], columns[2], order=args.order, seed=args.seed)
    conversations = [
        judge.ask(prompt, second, first) if swap else judge.ask(prompt, first, second)
        for swaps in rounds
        for (prompt, first, second), swap in zip(rows, swaps, strict=True)
    ]
    most = judge.endpoint.estimate(conversations)
    figures = {
        "calls": most.answered,
        "stored": most.stored,
        "most_prompt_tokens": most.prompt_tokens,
        "most_completion_tokens": most.completion_tokens,
        "most_cost": most.cost,
    }
    if args.json:
        print_json(figures)
    else:
        cost = "" if most.cost is None else f", which cost {most.cost:.4g} at most"
        print(
            f"{most.answered} calls with at most {most.prompt_tokens} prompt and {most.completion_tokens} completion "
            f"tokens{cost}; {most.stored} are answered already."
        )
    return 0
