"""`genrlhf study FILE`."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.terminal import print_json, print_table, say
from genrlhf.errors import ConfigError
from genrlhf.launchers import number_of_this_process
from genrlhf.places import load_place

if TYPE_CHECKING:
    from genrlhf.studies.folder import StudyFolder
    from genrlhf.studies.graph import Graph
    from genrlhf.studies.record import Record

__all__ = ["GraphOfStages", "add_command", "number_of_jobs"]

_SHOWN = 2
_MOST_JOBS = 1024


class GraphOfStages(Protocol):
    """What a study is to this command."""

    @property
    def folder(self) -> Path:
        """Where everything goes."""

    def graph(self) -> Graph:
        """Return its stages."""

    def results(self) -> Mapping[str, Any]:
        """Gather the figures of its stages, which are done; write them to `results.json` in the folder."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "study",
        run,
        help="train, sample and measure methods side by side, as a YAML file says",
        description="Run a study: methods with their settings, seeds and temperatures, as a YAML file says. What is "
        "there is not made again, so that the same command goes on where it stopped, and a method or a seed that is "
        "added costs only itself. Several processes may work on one study at a time. Runs under `accelerate launch -m "
        "genrlhf study …`, too.",
        folders=("output_dir",),
        kept=_kept,
        together=True,
    )
    parser.add_argument("file", metavar="FILE", help="a YAML file, or package.module:NAME of a study in Python")
    parser.add_argument("--output-dir", metavar="DIR", help="where everything goes, in place of what the file says")
    parser.add_argument("--list", action="store_true", help="show the stages, how far they are and what they need")
    parser.add_argument(
        "--only",
        metavar="STAGE",
        action="append",
        default=[],
        help="make this stage alone, the needs of which must be done; may be given several times",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=number_of_jobs,
        default=1,
        help="make up to N stages that do not wait for each other at a time, each in a process of its own with its "
        "share of the threads, which may round otherwise (default: %(default)s)",
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="where a stage fails, make all that does not need it, tell of it at the end, and exit with status 1",
    )
    parser.add_argument(
        "--launcher",
        metavar="COMMAND",
        help="start the stages that train or sample with this command, such as "
        '"accelerate launch --num_processes 2"; the figures are those of as many processes',
    )
    parser.add_argument(
        "--export", nargs=2, metavar=("ENGINE", "FILE"), help="write the stages as a Snakefile: --export snakemake FILE"
    )
    parser.add_argument(
        "--prune", action="store_true", help="delete the stages in the folder that this file does not have (any more)"
    )


def number_of_jobs(text: str) -> int:
    """Return a number of stages at a time, of an argument."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 0 < number <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MOST_JOBS}, not {text[:40]!r}")
    return number


def _kept(args: argparse.Namespace) -> str | None:
    places: StudyFolder | None = getattr(args, "places", None)
    if places is None:
        return None
    done = sum(places.is_done(stage) for stage in places.graph)
    return f"{done} of {len(places.graph)} stages are done in {places.folder}; the same command goes on from there."


def run(args: argparse.Namespace) -> int:
    """List, export, prune or make the stages, and print the figures."""
    given = [name for name in ("list", "export", "prune", "only") if getattr(args, name)]
    if len(given) > 1:
        raise ConfigError(f"Give one of --{' and --'.join(given)}.")
    if ":" not in args.file and not Path(args.file).is_file():
        why = "it is no file" if Path(args.file).exists() else "there is no such file"
        raise ConfigError(f"{args.file} cannot be read ({why}); name the YAML of a study.")
    from genrlhf.studies.folder import StudyFolder  # and with it torch
    from genrlhf.studies.team import join

    with contextlib.redirect_stdout(sys.stderr):
        join()
        args.threads = _threads(args.jobs)
        study = _load(args.file, args.output_dir)
        places = StudyFolder(study.folder, study.graph())
    args.places = places
    if args.list:
        _list(places, as_json=args.json)
    elif args.export:
        _export(args, places)
    elif args.prune:
        _prune(places, as_json=args.json)
    else:
        _make(args, study, places)
    return 0


def _threads(jobs: int) -> int | None:
    """Return the threads of each of several processes, which this one only starts; None where it does the work."""
    if jobs == 1:
        return None
    from genrlhf.studies.workers import keep_to_one_thread

    return max(1, keep_to_one_thread() // jobs)


def _graph_again(file: str, output_dir: str | None) -> Graph:
    """Return the graph of a study in another process."""
    from genrlhf.studies.progress import quiet_libraries

    quiet_libraries()
    return _load(file, output_dir).graph()


def _load(file: str, output_dir: str | None) -> GraphOfStages:
    """Return the study of a YAML file, or the one that "package.module:NAME" names or makes."""
    if ":" not in file or Path(file).exists():
        load = load_place("genrlhf.studies.study:load_study", "What reads studies")
        study: GraphOfStages = load(file, output_dir=output_dir)
        return study
    found = load_place(file, f"The study {file!r}")
    if callable(found):
        found = found(output_dir=output_dir)
    elif output_dir is not None:
        raise ConfigError(f"The study {file!r} has its folder; leave --output-dir out.")
    for name in ("folder", "graph", "results"):
        if not hasattr(found, name):
            raise ConfigError(f"{file!r} is a {type(found).__name__} without {name}; it must be a study.")
    study = found
    return study


def _make(args: argparse.Namespace, study: GraphOfStages, places: StudyFolder) -> None:
    from genrlhf.studies.launching import Launcher
    from genrlhf.studies.reporter import Reporter
    from genrlhf.studies.running import run as make

    if "transformers" in sys.modules:
        from genrlhf.studies.progress import quiet_libraries

        quiet_libraries()
    launcher = None if args.launcher is None else Launcher(args.launcher, [args.file, *_options(args)])
    is_main = number_of_this_process() == 0
    # The Trainer prints its figures, and models print whatever they like.
    with contextlib.redirect_stdout(sys.stderr):
        if not args.only and (check := getattr(study, "check", None)) is not None:
            check()  # before the work, what can be known of every stage
        report = Reporter(quiet=not is_main)
        records = make(
            places.graph,
            places.folder,
            only=args.only,
            launcher=launcher,
            report=report,
            jobs=args.jobs,
            threads=args.threads,
            remake=partial(_graph_again, args.file, args.output_dir),
            keep_going=args.keep_going,
        )
        results = study.results() if is_main and not args.only else {}
    if not is_main:
        return
    if args.only:
        _print_records(records, as_json=args.json)
    elif args.json:
        print_json(results)
    else:
        summary = getattr(study, "summary", None)
        print(summary(results) if summary is not None else f"{len(places.graph)} stages are done in {places.folder}.")


def _options(args: argparse.Namespace) -> list[str]:
    return ["--output-dir", args.output_dir] if args.output_dir else []


def _print_records(records: Mapping[str, Record], *, as_json: bool) -> None:
    if as_json:
        print_json({name: {"key": r.key, "seconds": r.seconds, "figures": r.figures} for name, r in records.items()})
        return
    for name, record in records.items():
        numbers = [f"{key} {value:.4g}" for key, value in record.figures.items() if isinstance(value, (int, float))]
        print(f"{name}: done in {record.seconds:.1f} s{', ' if numbers else ''}{', '.join(numbers)}")


def _list(places: StudyFolder, *, as_json: bool) -> None:
    stages: list[dict[str, Any]] = [
        {
            "name": stage.name,
            "kind": stage.kind,
            "state": places.state_of(stage),
            "needs": [need.name for need in stage.needed],
            "launched": stage.launched,
            "folder": str(places.of(stage)),
            "key": stage.key,
        }
        for stage in places.graph
    ]
    others = [str(place) for place in places.stale()]
    if as_json:
        print_json({"folder": str(places.folder), "stages": stages, "others": others})
        return
    rows = [(each["name"], each["state"], _some(each["needs"])) for each in stages]
    print_table([("stage", "state", "needs"), *rows])
    if others:
        say(f"{len(others)} folders are of stages that this study does not have (any more); --prune deletes them.")


def _some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are: a terminal has so many columns."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _prune(places: StudyFolder, *, as_json: bool) -> None:
    gone = [str(place) for place in places.prune()]
    if as_json:
        print_json({"deleted": gone})
    else:
        print("\n".join(gone) or "nothing to delete")


def _export(args: argparse.Namespace, places: StudyFolder) -> None:
    from genrlhf.data.log import said_when_full
    from genrlhf.studies.snakefile import snakefile

    engine, target = args.export
    if engine != "snakemake":
        raise ConfigError(f"--export {engine}: it can be snakemake, followed by the file to write.")
    command = ["study", args.file, *_options(args)]
    text = snakefile(places, command, launcher=shlex.split(args.launcher or ""), python=[sys.executable])
    with said_when_full(Path(target)):
        Path(target).write_text(text, encoding="utf-8")
    if args.json:
        print_json({"written": target, "rules": len(places.graph) + 1})
    else:
        print(f"{target}: a rule for each of {len(places.graph)} stages, and one for the results")
