"""`genrlhf judge`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError, DataError, JudgeError, excerpt

if TYPE_CHECKING:
    from genrlhf.metrics.preference.comparisons import JudgedComparisons
    from genrlhf.metrics.preference.endpoint import ChatEndpoint
    from genrlhf.metrics.preference.prompt_judge import PromptJudge

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "judge",
        help="have a language model compare two models' outputs",
        description="Ask a model behind an OpenAI-compatible endpoint which of two outputs is better, for every "
        "prompt, and write the judgements in AlpacaEval's form. The key is read from OPENAI_API_KEY. Answers are kept, "
        "so that the same command goes on where it stopped and pays for no answer twice.",
    )
    parser.add_argument("first", help="outputs of one model, such as the reference model: .jsonl or .json")
    parser.add_argument("second", nargs="?", help="outputs of the other model, whose win rate is counted")
    parser.add_argument(
        "--references", action="store_true", help='compare the one file with the "reference" of its rows instead'
    )
    parser.add_argument("--model", help="what the endpoint calls the judge (default: that of --alpaca-eval)")
    parser.add_argument("--base-url", help="of the endpoint (default: OPENAI_BASE_URL, or OpenAI's own)")
    parser.add_argument(
        "--task",
        choices=("instructions", "forum_posts", "news"),
        default="instructions",
        help="what the outputs are (default: %(default)s)",
    )
    parser.add_argument(
        "--answer",
        choices=("ranking", "letter", "reasoned"),
        default="ranking",
        help="how the judge answers (default: %(default)s)",
    )
    parser.add_argument(
        "--alpaca-eval", metavar="DIR", help="take template and parser from one of AlpacaEval's configuration folders"
    )
    parser.add_argument(
        "--order",
        choices=("random", "both"),
        default="random",
        help="draw which output is shown first, or ask in both orders (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="only the first so many prompts")
    parser.add_argument("--names", nargs=2, metavar="NAME", help="of the two models (default: those of the files)")
    parser.add_argument("--output", default="annotations.jsonl", help="where the judgements go (default: %(default)s)")
    parser.add_argument("--store", help="where the answers are kept (default: beside --output)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests in flight (default: %(default)s)")
    parser.add_argument("--max-retries", type=int, default=8, help="attempts after the first (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds an attempt (default: %(default)s)")
    parser.add_argument(
        "--prices", nargs=2, type=float, metavar="PRICE", help="of a million prompt and a million completion tokens"
    )
    parser.add_argument("--budget", type=float, help="stop before more than this could be spent in this run")
    parser.add_argument("--dry-run", action="store_true", help="say what it would take at most, and ask nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Judge, and say what came of it."""
    from genrlhf.data.files import write_rows
    from genrlhf.metrics.preference.annotations import annotation_win_rates
    from genrlhf.metrics.preference.comparisons import judge_comparisons

    if bool(args.second) == args.references:
        raise ConfigError("Give outputs of two models, or of one and --references.")
    if not args.output.endswith((".jsonl", ".jsonl.gz")):
        raise ConfigError(f"--output {args.output} must end in .jsonl or .jsonl.gz.")
    prompts, first, second = _sides(args)
    names = tuple(args.names or _names(args))
    judge, endpoint = _judge(args)
    if args.dry_run:
        return _estimate(args, judge, endpoint, prompts, first, second)
    calls = len(prompts) * (2 if args.order == "both" else 1)
    from tqdm.auto import tqdm

    with tqdm(total=calls, desc="judgements", disable=None) as bar:
        endpoint.progress = bar.update
        judged = judge_comparisons(prompts, first, second, judge, order=args.order, seed=args.seed)
    rows = judged.to_annotations((names[0], names[1]), f"{endpoint.model}:{judge.template.name}")
    write_rows(rows, args.output)
    if endpoint.usage.failed:
        print(
            f"genrlhf: {endpoint.usage.failed} calls were not answered, the last for this: "
            f"{endpoint.usage.last_error}; the same command asks for them again.",
            file=sys.stderr,
        )
    if not any(row["preference"] is not None for row in rows):
        raise JudgeError(
            f"None of the {len(rows)} comparisons has an answer that can be read, such as "
            f"{excerpt(judge.answers[0].text)}; use another judge or form of answer."
        )
    figures = annotation_win_rates(rows, baseline=names[0], control_length=True, seed=args.seed)[names[1]].to_dict()
    _print(args, names, figures, judged, judge, endpoint)
    return 0


def _sides(args: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    """Return prompts and both models' outputs; with --references the references come first."""
    one = _read(args.first, args.limit)
    if args.references:
        for place, row in one.values():
            if not isinstance(row.get("reference"), str):
                raise DataError(f'{place} has no "reference"; add it, or give outputs of a second model.')
        rows = [row for _, row in one.values()]
        return list(one), [row["reference"] for row in rows], [row["outputs"][0] for row in rows]
    other = _read(args.second, None)
    lost = [prompt for prompt in one if prompt not in other]
    if lost or (args.limit is None and len(other) != len(one)):
        shown = f", such as {excerpt(lost[0])}" if lost else ""
        raise DataError(
            f"{args.first} and {args.second} do not hold the same prompts: {len(lost)} of the {len(one)} of the first "
            f"are not among the {len(other)} of the second{shown}; compare outputs of the same prompts."
        )
    return list(one), [row["outputs"][0] for _, row in one.values()], [other[prompt][1]["outputs"][0] for prompt in one]


def _read(file: str, limit: int | None) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return place and content of every row, by the text of its prompt."""
    from genrlhf.data.files import iter_rows

    if limit is not None and limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {limit}.")
    rows: dict[str, tuple[str, dict[str, Any]]] = {}
    for place, row in iter_rows(file):
        where = f"{file}, {place}"
        outputs = row.get("outputs")
        if not isinstance(outputs, list) or not outputs or not isinstance(outputs[0], str):
            raise DataError(f'{where} has {excerpt(outputs)} for "outputs"; give a list of strings.')
        prompt = _text(row.get("prompt"), where)
        if prompt in rows:
            raise DataError(f"{where} has the same prompt as {rows[prompt][0]}; a comparison needs every prompt once.")
        rows[prompt] = (where, row)
        if len(rows) == limit:
            break
    if not rows:
        raise DataError(f"{file} holds no rows; write one JSON object a row.")
    return rows


def _text(prompt: Any, where: str) -> str:
    """Return a prompt as text; of a conversation, what was said in turn."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and all(
        isinstance(part, dict) and isinstance(part.get("content"), str) for part in prompt
    ):
        said = [part["content"] for part in prompt]
        return said[0] if len(said) == 1 else "\n\n".join(f"{part.get('role')}: {part['content']}" for part in prompt)
    raise DataError(f"{where} has {excerpt(prompt)} for a prompt; give text or messages.")


def _names(args: argparse.Namespace) -> tuple[str, str]:
    if args.references:
        return "reference", Path(args.first).name.split(".")[0]
    stems = (Path(args.first).name.split(".")[0], Path(args.second).name.split(".")[0])
    return stems if stems[0] != stems[1] else (args.first, args.second)


def _judge(args: argparse.Namespace) -> tuple[PromptJudge, ChatEndpoint]:
    from genrlhf.metrics.preference.alpaca_eval import load_alpaca_eval_judge
    from genrlhf.metrics.preference.answer_store import AnswerStore
    from genrlhf.metrics.preference.endpoint import ChatEndpoint
    from genrlhf.metrics.preference.prompt_judge import PromptJudge
    from genrlhf.metrics.preference.templates import judge_template

    settings: dict[str, Any] = {}
    model = args.model
    if args.alpaca_eval:
        described = load_alpaca_eval_judge(args.alpaca_eval)
        template, settings = described.template, dict(described.settings)
        model = model or described.model
    else:
        template = judge_template(args.task, args.answer)
    if not model:
        raise ConfigError("There is no judge; name a model with --model.")
    endpoint = ChatEndpoint(
        model,
        base_url=args.base_url,
        max_tokens=template.max_new_tokens,
        settings=settings,
        store=AnswerStore(args.store or f"{args.output}.answers.sqlite"),
        concurrency=args.concurrency,
        timeout=args.timeout,
        max_retries=args.max_retries,
        prices=tuple(args.prices) if args.prices else None,
        budget=args.budget,
    )
    return PromptJudge(endpoint, template), endpoint


def _estimate(
    args: argparse.Namespace,
    judge: PromptJudge,
    endpoint: ChatEndpoint,
    prompts: list[str],
    first: list[str],
    second: list[str],
) -> int:
    from genrlhf.metrics.preference.winrate import shown_swapped

    conversations = []
    for row in zip(prompts, first, second, strict=True):
        prompt, one, other = row
        swap = shown_swapped(args.seed, *row)
        orders = [(other, one) if swap else (one, other)]
        orders += [orders[0][::-1]] if args.order == "both" else []
        conversations += [judge.template.fill(prompt, *shown) for shown in orders]
    most = endpoint.estimate(conversations)
    figures = {
        "calls": most.answered,
        "stored": most.stored,
        "most_prompt_tokens": most.prompt_tokens,
        "most_completion_tokens": most.completion_tokens,
        "most_cost": most.cost,
    }
    if args.json:
        print(json.dumps(figures))
    else:
        cost = "" if most.cost is None else f", which cost {most.cost:.4g} at most"
        print(
            f"{most.answered} calls with at most {most.prompt_tokens} prompt and {most.completion_tokens} completion "
            f"tokens{cost}; {most.stored} are answered already."
        )
    return 0


def _print(
    args: argparse.Namespace,
    names: tuple[str, ...],
    figures: dict[str, Any],
    judged: JudgedComparisons,
    judge: PromptJudge,
    endpoint: ChatEndpoint,
) -> None:
    usage = endpoint.usage
    unreadable = sum(answer.text is not None and answer.preference is None for answer in judge.answers)
    more = {
        "model": names[1],
        "baseline": names[0],
        **figures,
        "flip_rate": judged.flip_rate,
        "first_shown_wins": judged.first_shown_wins,
        "unreadable": unreadable,
        "failed": usage.failed,
        "answered_now": usage.answered,
        "stored": usage.stored,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost": usage.cost,
        "output": args.output,
    }
    if args.json:
        print(json.dumps(more, allow_nan=False))
        return
    low, high = figures["ci"]
    controlled = figures["length_controlled"]
    print(f"{names[1]} beats {names[0]} in {figures['win_rate']:.2f} % [{low:.2f}, {high:.2f}] of comparisons:")
    print(
        f"{figures['n_wins']} wins, {figures['n_wins_base']} losses, {figures['n_draws']} ties, "
        f"{figures['n_unanswered']} without an answer ({unreadable} could not be read, {usage.failed} calls failed)"
    )
    print(
        f"at equal lengths {100 * controlled['value']:.2f} % "
        f"[{100 * controlled['ci'][0]:.2f}, {100 * controlled['ci'][1]:.2f}]"
    )
    if judged.flip_rate is not None:
        print(f"the order changed the verdict in {100 * judged.flip_rate:.1f} %")
    print(f"what was shown first won in {100 * (judged.first_shown_wins or 0):.1f} %")
    cost = "" if usage.cost is None else f", cost {usage.cost:.4g}"
    print(
        f"{usage.answered} calls now ({usage.prompt_tokens} + {usage.completion_tokens} tokens{cost}), {usage.stored} "
        f"answers were there; judgements in {args.output}"
    )
