"""`genrlhf data self-instruct`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import add_command as add
from genrlhf.cli.samplers import add_sampler_options, make_sampler, model_settings
from genrlhf.cli.terminal import print_json, print_table, say
from genrlhf.errors import printable

if TYPE_CHECKING:
    from genrlhf.data.selfinstruct.config import SelfInstructConfig
    from genrlhf.data.selfinstruct.result import SelfInstructResult
    from genrlhf.data.selfinstruct.steps import Progress
    from genrlhf.types import Sample, Sampler

__all__ = ["add_command"]

_SAMPLING = {"": "instruction_sampling", "classification-": "classification_sampling", "instance-": "instance_sampling"}
"""Fields that hold sampling parameters, by what the names of their options begin with."""

_DRAWN = (
    ("max-new-tokens", int, "longest answer, in tokens"),
    ("temperature", float, "divides the logits; 0 takes the most likely token"),
    ("top-p", float, "draw from the nucleus of this probability; 1: off"),
)


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "self-instruct",
        run,
        help="have a model write instructions and instances from seed tasks",
        description="Have a model write instructions, and inputs and outputs of them, from seed tasks (Self-Instruct, "
        "Wang et al. 2023), drop what the filters take, and say how much each took. The rows to train on are in "
        "train.jsonl of the folder. Every answer is kept as it comes: the same command goes on where it stopped, and "
        "one with a higher --target adds to what is there; other settings are refused.",
        seed="of the choice of tasks for prompts, and of the samples",
        reads=("seeds", "unlike"),
        folders=("output_dir",),
        kept=_kept,
    )
    parser.add_argument("--model", required=True, help="hub name or folder of a causal language model")
    parser.add_argument(
        "--seeds",
        required=True,
        metavar="FILE",
        help="the seed tasks: rows with an instruction and, where they have them, id, is_classification and instances",
    )
    parser.add_argument(
        "--output-dir", default="instructions", metavar="FOLDER", help="where everything goes (default: %(default)s)"
    )
    parser.add_argument(
        "--unlike", metavar="FILE", help="rows with instructions that none kept may be like, such as an evaluation set"
    )
    _add_settings(parser)
    parser.add_argument(
        "--concurrency", type=int, default=32, help="requests in flight at a server (default: %(default)s)"
    )
    add_sampler_options(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting there is."""
    from genrlhf.data.selfinstruct.config import ROW_FORMATS, SelfInstructConfig
    from genrlhf.types import SamplingParams

    for field in fields(SelfInstructConfig):
        option, told = f"--{field.name.replace('_', '-')}", str(field.metadata["help"])
        told = f"{told[0].lower()}{told[1:-1]}"
        default = field.default
        if field.name == "seed" or isinstance(default, SamplingParams):
            continue
        if field.name == "same_script":
            parser.add_argument("--any-script", action="store_true", help="keep instructions of any script")
        elif isinstance(default, bool):
            parser.add_argument(option, action="store_true", help=told)
        elif isinstance(default, tuple):
            parser.add_argument(
                option,
                nargs="*",
                metavar="WORDS",
                help=f"{told} (default: {', '.join(default)}; nothing switches it off)",
            )
        elif field.name == "row_format":
            parser.add_argument(option, choices=ROW_FORMATS, default=default, help=f"{told} (default: {default})")
        else:
            kind: Callable[[str], Any] = type(default)
            parser.add_argument(option, type=kind, default=default, help=f"{told} (default: {default})")
    for prefix, name in _SAMPLING.items():
        of = name.partition("_")[0]
        default = getattr(SelfInstructConfig, name)
        for each, kind, told in _DRAWN:
            value = getattr(default, each.replace("-", "_"))
            parser.add_argument(
                f"--{prefix}{each}", type=kind, default=value, help=f"of {_PLURAL[of]}: {told} (default: {value})"
            )


_PLURAL = {"instruction": "instructions", "classification": "what is classification", "instance": "instances"}


def _config(args: argparse.Namespace) -> SelfInstructConfig:
    from genrlhf.data.selfinstruct.config import SelfInstructConfig

    given: dict[str, Any] = {"same_script": not args.any_script}
    for field in fields(SelfInstructConfig):
        if (value := getattr(args, field.name, None)) is not None:
            given[field.name] = tuple(value) if isinstance(value, list) else value
    for prefix, name in _SAMPLING.items():
        drawn = {each.replace("-", "_"): _option(args, f"{prefix}{each}") for each, _, _ in _DRAWN}
        given[name] = replace(getattr(SelfInstructConfig, name), **drawn)
    return SelfInstructConfig(**given)


def _option(args: argparse.Namespace, name: str) -> Any:
    return getattr(args, name.replace("-", "_"))


def _kept(args: argparse.Namespace) -> str | None:
    answers = Path(args.output_dir).expanduser() / "answers.jsonl"
    if not answers.is_file():
        return None
    there = answers.read_bytes().count(b"\n")
    return f"{answers} holds {there} answers; the same command goes on from there."


def run(args: argparse.Namespace) -> int:
    """Generate, and say which filter took how much."""
    from genrlhf.data.selfinstruct.run import self_instruct

    with closing(_Progress()) as progress:
        made = self_instruct(
            _LateSampler(args),
            args.seeds,
            args.output_dir,
            _config(args),
            unlike=args.unlike or (),
            model=model_settings(args),
            report=progress.report,
        )
    _print(made, args)
    return 1 if made.stopped else 0


class _LateSampler:
    """A sampler that is made when something is asked: what is wrong with seeds or folder is told before that."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._made: Sampler | None = None

    def stream(self, *args: Any, **options: Any) -> Iterator[tuple[int, list[Sample]]]:
        """Yield samples as they are ready."""
        return self._sampler().stream(*args, **options)

    def sample(self, *args: Any) -> list[list[str]]:
        """Return the texts of samples."""
        return self._sampler().sample(*args)

    def _sampler(self) -> Sampler:
        from genrlhf.models.processes import join_processes

        if self._made is None:
            options = {"concurrency": self._args.concurrency} if self._args.base_url else {}
            self._made = make_sampler(self._args, join_processes().device, **options)
        return self._made


class _Progress:
    """A bar for every step."""

    def __init__(self) -> None:
        self._step = ""
        self._bar: Any = None

    def report(self, progress: Progress) -> None:
        """Show how far the run is."""
        from tqdm.auto import tqdm

        if progress.step != self._step:
            self.close()
            self._step, self._bar = progress.step, tqdm(total=progress.total, desc=progress.step)
        self._bar.set_postfix_str(f"{progress.asked} answers", refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        """End the bar that is shown."""
        if self._bar is not None:
            self._bar.close()


def _print(made: SelfInstructResult, args: argparse.Namespace) -> None:
    if made.stopped:
        say(made.stopped)
    if args.json:
        counts = {"rows": len(made.rows), "instructions": len(made.instructions), "asked": made.asked}
        print_json({"output_dir": args.output_dir, **counts, "report": made.report})
        return
    print_table(made.table())
    with_some = made.report["instances"]["instructions_with_some"]
    print(
        f"{printable(made.folder / 'train.jsonl')}: {len(made.rows)} rows of {with_some} instructions, of "
        f"{len(made.instructions)} that were kept; {made.asked} answers were asked for now."
    )
