"""`genrlhf tasks`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json, print_table
from genrlhf.errors import ConfigError, excerpt

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "tasks",
        run,
        help="list the tasks that models are trained and evaluated on; measure how far their evaluation sets are apart",
        description="List the tasks that `load_task` and `task:` of a study know: their evaluation sets, their sizes "
        "by default and what they need. Nothing is loaded. With --json also the form of prompts, filters and options. "
        "With --shifts, how far the evaluation sets of a task, or files of prompts, are from the first.",
        seed="of draws and shuffles of --shifts",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="TASK",
        help="a task: a name or package.module:function; with --shifts, also two or more NAME=PROMPTS, each a file of "
        'rows, a folder or a hub dataset with "prompt" (default: all that are known)',
    )
    parser.add_argument(
        "--shifts",
        action="store_true",
        help="load the task, and print how far each of its sets of prompts is from the one in distribution: in words "
        "(0: none, 1: no word in common), in length (standard deviations, above 0 where prompts are longer), in "
        "embeddings",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the task's loader, such as source=posts.jsonl; the value is YAML; may be repeated",
    )
    parser.add_argument("--encoder", metavar="MODEL", help="sentence encoder of the embeddings (default: none)")
    parser.add_argument("--split", default="train", help="split of a dataset with several (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print the registry, or shifts."""
    from genrlhf.data.tasks.registry import TASKS, get_task_info

    if args.shifts:
        return _shifts(args)
    if args.option or args.encoder:
        raise ConfigError("--option and --encoder go with --shifts, which loads a task.")
    tasks = [get_task_info(name) for name in args.names or TASKS]
    if args.json:
        print_json({task.name: task.to_dict() for task in tasks})
        return 0
    rows = [(task.name, ", ".join(task.sets), _sizes(task.rows), task.needs) for task in tasks]
    print_table([("task", "evaluation sets", "rows", "needs"), *rows])
    return 0


def _sizes(rows: Any) -> str:
    parts = {"demonstrations", "preferences", "prompts"}
    return ", ".join(f"{n} {name}" for name, n in rows.items() if name in parts) or "unknown until loaded"


def _shifts(args: argparse.Namespace) -> int:
    from genrlhf.metrics.shift import MEASURES
    from genrlhf.studies.progress import quiet_libraries
    from genrlhf.studies.shifts import shifts_of

    quiet_libraries()
    sets = _sets(args)
    found = shifts_of(sets, encoder=args.encoder, seed=args.seed)
    if args.json:
        form = {name: {measure: one.to_dict() for measure, one in each.items()} for name, each in found.items()}
        print_json(
            {"from": next(iter(sets)), "prompts": {name: len(each) for name, each in sets.items()}, "shifts": form}
        )
        return 0
    measures = [measure for measure in MEASURES if any(measure in each for each in found.values())]
    rows = [
        (name, str(len(sets[name])), *(str(each[measure]) if measure in each else "" for measure in measures))
        for name, each in found.items()
    ]
    print_table([(f"from {next(iter(sets))} ({len(next(iter(sets.values())))})", "prompts", *measures), *rows])
    return 0


def _sets(args: argparse.Namespace) -> Mapping[str, Sequence[Any]]:
    """Return prompts by the name of their set, the one in distribution first."""
    pairs = [name.partition("=") for name in args.names]
    if len(pairs) > 1 and all(name and place for name, _, place in pairs):
        if len({name for name, _, _ in pairs}) < len(pairs) or args.option:
            raise ConfigError("Name each set once, and give --option with a task only.")
        return {name: _prompts(place, args.split) for name, _, place in pairs}
    if len(pairs) != 1 or pairs[0][1]:
        raise ConfigError("--shifts takes one task, or two or more sets of prompts as NAME=PROMPTS.")
    from genrlhf.studies.given import task_of

    task = task_of({"name": args.names[0], **_options(args.option)})
    sets = {name: task.evaluation[name]["prompt"][:] for name in sorted(task.evaluation, key="id".__ne__)}
    return {**sets, "training prompts": task.prompts["prompt"][:]}


def _prompts(place: str, split: str) -> list[Any]:
    from genrlhf.data.schema import check_rows
    from genrlhf.data.sources import read_split

    dataset = read_split(place, split)
    check_rows(dataset, ["prompt"], source=place)
    return list(dataset["prompt"][:])


def _options(given: Sequence[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for option in given:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise ConfigError(f"--option is {excerpt(option)}; write KEY=VALUE, such as n_evaluation=200.")
        try:
            found[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"--option {excerpt(option)}: {' '.join(str(error).split())}.") from error
    return found
