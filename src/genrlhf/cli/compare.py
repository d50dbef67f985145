"""`genrlhf compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.compare_measures import (
    ANSWERS_FILE,
    judge_words,
    make_measures,
    metric_options,
    named_levels,
    named_metrics,
)
from genrlhf.cli.compare_options import add_drawing, add_inputs, add_measures, add_processes
from genrlhf.cli.compare_sources import named_sources, read_prompts, read_rows, read_task, read_texts
from genrlhf.cli.frame import add_command as add
from genrlhf.cli.reading import add_reading_options, reading_settings
from genrlhf.cli.terminal import print_json
from genrlhf.errors import ConfigError, excerpt, printable
from genrlhf.launchers import number_of_this_process
from genrlhf.types import SamplingParams

if TYPE_CHECKING:
    from genrlhf.studies.compare_figures import Measures
    from genrlhf.studies.compare_models import Drawing
    from genrlhf.studies.results import Results

__all__ = ["add_command"]


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
        together=True,
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
    add_processes(parser)
    add_measures(parser)
    add_reading_options(parser, prompts=False)


def _kept(args: argparse.Namespace) -> str | None:
    folder = Path(args.output_dir).expanduser()
    if not any(folder.glob("stages/sample/**/outputs.jsonl*")) and not (folder / ANSWERS_FILE).is_file():
        return None
    return f"the outputs and answers that have come are in {args.output_dir}; the same command goes on from there."


def run(args: argparse.Namespace) -> int:
    """Compare, and print what came of it."""
    given = named_sources(args.sources)
    if args.prompts and args.task:
        raise ConfigError("Give --prompts or --task, not both.")
    if args.judge is not None:
        judge_words(args)
    from genrlhf.metrics.diversity.catalogue import build_metrics
    from genrlhf.models.processes import decided_by_main
    from genrlhf.studies.compare import Comparison, is_outputs_file
    from genrlhf.studies.progress import Reporter, quiet_libraries
    from genrlhf.studies.team import join

    quiet_libraries()
    join()
    threads = _threads(args.jobs)
    is_main = number_of_this_process() == 0
    drawing = _drawing(args)
    options = metric_options(args)
    levels, metrics = named_levels(args), build_metrics(named_metrics(args), options)
    task = read_task(args)
    prompts = read_prompts(args, task)
    sources = {name: read_rows(value, args) if is_outputs_file(value) else value for name, value in given.items()}
    comparison = Comparison(
        sources,
        args.output_dir,
        drawing=drawing,
        reference=args.reference,
        baseline=args.baseline,
        kl_from=args.kl_from,
        texts=read_texts(args),
        free=args.free,
        encoder=options.embedder if args.encoder else None,
        report=Reporter(quiet=not is_main),
    )
    comparison.read(prompts, args.prompts or f"the task {args.task}", args.limit)
    comparison.check(metrics, levels, judged=args.judge is not None)
    made: list[tuple[Measures, dict[str, Any]]] = []
    # Before anything is drawn, or what is wrong with a judge would be told after hours.
    decided_by_main(lambda: made.append(make_measures(args, task, metrics, levels)))
    comparison.draw(jobs=args.jobs, threads=threads and max(1, threads // args.jobs), launcher=args.launcher)
    if not is_main:
        return 0
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    measures, said = made[0]
    settings = {
        "files": {name: value for name, value in given.items() if is_outputs_file(value)},
        "prompts": args.prompts or args.task,
        "encoder": args.encoder,
        **said,
        **reading_settings(args),
    }
    _print(comparison.measure(measures, settings), args)
    return 0


def _threads(jobs: int) -> int | None:
    """Return the threads of this process where it is to start others, for which it keeps to one; None for one job."""
    if jobs == 1:
        return None
    from genrlhf.studies.workers import keep_to_one_thread

    return keep_to_one_thread()


def _print(results: Results, args: argparse.Namespace) -> None:
    from genrlhf.studies.results import FILE_NAME, to_json
    from genrlhf.studies.results_check import FORMAT, VERSION
    from genrlhf.studies.results_text import results_table

    if args.json:
        print_json({"format": FORMAT, "version": VERSION, **to_json(results)})
    else:
        print(results_table(results))
        print(f"\n{printable(Path(args.output_dir) / FILE_NAME)} has all of it; genrlhf report makes a page of it.")


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
