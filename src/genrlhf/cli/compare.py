"""`genrlhf compare`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.compare_options import add_drawing, add_inputs, add_measures
from genrlhf.cli.frame import add_command as add
from genrlhf.cli.reading import add_reading_options, read_outputs, reading_settings
from genrlhf.cli.terminal import print_json, say
from genrlhf.errors import ConfigError, DataError, excerpt, printable
from genrlhf.types import SamplingParams

if TYPE_CHECKING:
    from genrlhf.data import Task
    from genrlhf.studies.compare_figures import Measures
    from genrlhf.studies.compare_models import Drawing
    from genrlhf.types import DiversityMetric, Judge, RewardFunction

__all__ = ["add_command"]

_STORE = "judge-answers.sqlite"


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "compare",
        run,
        help="put checkpoints and files of outputs side by side: quality, diversity, generalisation",
        description="Draw outputs of every model at every temperature, take those of files as they are, measure all on "
        "the same prompts, and say which methods are more diverse at the same quality. Nothing is trained. The same "
        "command goes on where it stopped.",
        seed="of the samples",
        reads=("sources", "prompts", "texts"),
        folders=("output_dir",),
        kept=_kept,
    )
    parser.usage = "%(prog)s [options] NAME=MODEL_OR_OUTPUTS ..."
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="NAME=MODEL_OR_OUTPUTS",
        help="a model (hub name or folder, adapters too) or a file of outputs, by the name that it shall have; quality "
        "and diversity of the others are compared with the first",
    )
    parser.add_argument("--output-dir", default="comparison", help="where everything goes (default: %(default)s)")
    add_inputs(parser)
    add_drawing(parser)
    add_measures(parser)
    add_reading_options(parser, prompts=False)


def _kept(args: argparse.Namespace) -> str | None:
    folder = Path(args.output_dir).expanduser()
    if not any(folder.glob("outputs/*/*.jsonl")) and not (folder / _STORE).is_file():
        return None
    return f"the outputs and answers that have come are in {args.output_dir}; the same command goes on from there."


def run(args: argparse.Namespace) -> int:
    """Compare, and print what came of it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "compare runs in one process; draw outputs with `accelerate launch -m genrlhf sample`, and give the files."
        )
    given = _named(args.sources)
    if args.prompts and args.task:
        raise ConfigError("Give --prompts or --task, not both.")
    if args.judge is not None:
        _judge_words(args)
    from genrlhf.metrics.diversity.catalogue import build_metrics
    from genrlhf.studies.compare import Comparison, is_outputs_file
    from genrlhf.studies.progress import Reporter, quiet_libraries
    from genrlhf.studies.results import FILE_NAME, to_json
    from genrlhf.studies.results_check import FORMAT, VERSION
    from genrlhf.studies.results_text import results_table

    quiet_libraries()
    drawing = _drawing(args)
    options = _options(args)
    levels, metrics = _levels(args), build_metrics(_words(args.metrics, "--metrics"), options)
    task = _task(args)
    prompts = _prompts(args, task)
    sources = {name: _rows(value, args) if is_outputs_file(value) else value for name, value in given.items()}
    comparison = Comparison(
        sources,
        args.output_dir,
        drawing=drawing,
        reference=args.reference,
        baseline=args.baseline,
        kl_from=args.kl_from,
        texts=_texts(args),
        free=args.free,
        encoder=options.embedder if args.encoder else None,
        report=Reporter(),
    )
    comparison.read(prompts, args.prompts or f"the task {args.task}", args.limit)
    comparison.check(metrics, levels, judged=args.judge is not None)
    measures, said = _measures(args, task, metrics, levels)
    files = {name: value for name, value in given.items() if is_outputs_file(value)}
    settings = {
        "files": files,
        "prompts": args.prompts or args.task,
        "encoder": args.encoder,
        **said,
        **reading_settings(args),
    }
    results = comparison.run(measures, settings)
    if args.json:
        print_json({"format": FORMAT, "version": VERSION, **to_json(results)})
    else:
        print(results_table(results))
        print(f"\n{printable(Path(args.output_dir) / FILE_NAME)} has all of it; genrlhf report makes a page of it.")
    return 0


def _texts(args: argparse.Namespace) -> list[str]:
    if args.texts is None:
        return []
    from genrlhf.studies.stages.forgetting import read_texts

    return read_texts(args.texts, 200)


def _named(sources: list[str]) -> dict[str, str]:
    """Return what is compared by its names."""
    found: dict[str, str] = {}
    for source in sources:
        name, equals, value = source.partition("=")
        if not equals or not name or not value:
            what = "has no name" if value or not equals else "names no model and no file of outputs"
            raise ConfigError(f"{excerpt(source)} {what}; write NAME=MODEL_OR_OUTPUTS, such as sft=outputs.jsonl.")
        if name in found:
            raise ConfigError(f"{excerpt(name)} names two sources; give each a name of its own.")
        found[name] = value
    return found


def _words(text: str, option: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise ConfigError(f"{option} names nothing; give names with commas between them.")
    return names


def _levels(args: argparse.Namespace) -> list[Any]:
    from genrlhf.metrics.diversity.evaluation import LEVELS

    names = _words(args.levels, "--levels")
    for name in names:
        if name not in LEVELS:
            raise ConfigError(f"--levels has {excerpt(name)}; give some of {', '.join(LEVELS)}.")
    return [level for level in LEVELS if level in names]


def _options(args: argparse.Namespace) -> Any:
    from genrlhf.metrics.diversity.catalogue import MetricOptions
    from genrlhf.metrics.diversity.embeddings import Embedder, sentence_encoder

    embedder = Embedder(args.encoder or sentence_encoder("published"))
    return MetricOptions(embedder=embedder, classes=args.classes, seed=args.seed)


def _drawing(args: argparse.Namespace) -> Drawing:
    from genrlhf.studies.compare_models import Drawing

    return Drawing(
        n=args.n,
        temperatures=args.temperatures,
        params=SamplingParams(max_new_tokens=args.max_new_tokens, stop=tuple(args.stop)),
        seed=args.seed,
        chat=args.chat,
        ignore_asking=args.ignore_asking,
        verbalized=_verbalized(args.verbalized),
        verbalized_tail=args.verbalized_tail,
        verbalized_tokens=args.verbalized_tokens,
        dtype=args.dtype,
        batch_size=args.batch_size,
        trust_remote_code=args.trust_remote_code,
        overwrite=args.overwrite,
    )


def _verbalized(given: list[str]) -> dict[str, int]:
    """Return responses a call, by the names of sources."""
    found = {}
    for each in given:
        name, _, k = each.partition("=")
        if not name or not k.isascii() or not k.isdigit() or name in found:
            raise ConfigError(f"--verbalized has {excerpt(each)}; write NAME=K once for a source, such as base=5.")
        found[name] = int(k)
    return found


def _task(args: argparse.Namespace) -> Task | None:
    if args.task is None:
        return None
    from genrlhf.data import load_task

    return load_task(args.task)


def _prompts(args: argparse.Namespace, task: Task | None) -> Iterator[dict[str, Any]] | None:
    """Return rows of prompt, reference and evaluation set; None where they are those of the first file."""
    if task is not None:
        return ({**row, "dataset": name} for name, dataset in task.evaluation.items() for row in dataset)
    return _rows_of_prompts(args) if args.prompts else None


def _rows_of_prompts(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from genrlhf.data.sources import read_split

    dataset = read_split(args.prompts, args.split)
    columns = dataset.column_names
    prompt = next((one for one in (args.prompt_column, "prompt", "instruction", "messages") if one in columns), None)
    if prompt is None:
        raise DataError(f"{args.prompts} has no column of prompts, only {', '.join(columns)}; call it prompt.")
    reference = next((one for one in (args.reference_column, "reference") if one in columns), None)
    for row in dataset:
        yield {
            "prompt": row[prompt],
            "reference": None if reference is None else row[reference],
            "dataset": row.get("dataset"),
        }


def _rows(file: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a file of outputs, with those of --prompts where it has no prompts of its own."""

    def read(prompts: str | None) -> tuple[list[dict[str, Any]], list[str]]:
        notes: list[str] = []
        reading = argparse.Namespace(**{**vars(args), "prompts": prompts})
        return [row for _, row in read_outputs(file, reading, notes)], notes

    # A folder or dataset is no file that stands beside the outputs, and what was read from a pipe is gone.
    beside = args.prompts if args.prompts and Path(args.prompts).expanduser().is_file() and file != "-" else None
    try:
        rows, notes = read(None)
    except DataError:
        if beside is None:
            raise
        rows, notes = read(beside)
    else:
        if beside is not None and any(row.get("prompt") is None for row in rows):
            rows, notes = read(beside)
    for note in notes:
        say(note)
    return rows


_JUDGES = ("local", "openai")


def _judge_words(args: argparse.Namespace) -> tuple[str, str]:
    """Return the kind of judge, and its model."""
    kind, _, model = args.judge.partition("=")
    right = (kind in ("gold", "reward") and not model) or (kind in _JUDGES and model)
    if not right:
        raise ConfigError(f"--judge is {excerpt(args.judge)}; give gold, reward, local=FOLDER_OR_NAME or openai=MODEL.")
    if kind == "reward" and not args.reward:
        raise ConfigError("--judge reward needs the reward model: --reward MODEL.")
    if kind == "gold" and not args.task:
        raise ConfigError("--judge gold needs a task that has a gold score: --task NAME.")
    return kind, model


def _measures(
    args: argparse.Namespace, task: Task | None, metrics: dict[str, DiversityMetric], levels: list[Any]
) -> tuple[Measures, dict[str, Any]]:
    """Return what is measured, and what the record says of it."""
    from genrlhf.studies.compare_figures import Measures, RememberedScores

    scores: dict[str, RewardFunction] = {}
    if task is not None and task.gold is not None:
        scores["gold"] = task.gold
    if args.reward:
        from genrlhf.rewards import load_reward

        scores["reward"] = RememberedScores(load_reward(args.reward, trust_remote_code=args.trust_remote_code))
    judge, label = _judge(args, scores)
    return Measures(metrics, levels, judge, scores), {"judge": label, "reward": args.reward}


def _judge(args: argparse.Namespace, scores: dict[str, RewardFunction]) -> tuple[Judge | None, str | None]:
    if args.judge is None:
        return None, None
    kind, model = _judge_words(args)
    if kind in ("gold", "reward"):
        from genrlhf.metrics.preference import ScoreJudge

        if kind not in scores:
            raise ConfigError(f"--judge gold: the task {args.task!r} has no gold score; name another judge.")
        return ScoreJudge(scores[kind]), kind if kind == "gold" else f"reward:{Path(args.reward).name}"
    from genrlhf.cli.judge.choosing import choose_judge

    asked = argparse.Namespace(
        reward_model=None,
        local_model=model if kind == "local" else None,
        model=model if kind == "openai" else None,
        base_url=args.judge_url,
        task=args.judge_task,
        answer=args.judge_answer,
        prices=args.judge_prices,
        budget=args.judge_budget,
        alpaca_eval=None,
        max_tokens="auto",
        temperature="auto",
        reasoning_effort=None,
        extra_body=None,
        concurrency=16,
        max_retries=8,
        timeout=120.0,
    )
    folder = Path(args.output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return choose_judge(asked, str(folder / _STORE))
