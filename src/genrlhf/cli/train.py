"""`genrlhf train METHOD`."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.cli.frame import Parser, seed
from genrlhf.cli.frame import add_command as add
from genrlhf.cli.settings_file import fitting_values
from genrlhf.cli.terminal import print_json
from genrlhf.errors import ConfigError, DataError
from genrlhf.places import load_place
from genrlhf.yaml_files import read_yaml

if TYPE_CHECKING:
    from genrlhf.data import Task
    from genrlhf.methods import Method

__all__ = ["RunArguments", "add_command"]


def add_command(commands: Any) -> None:
    """Add the command to the subparsers."""
    parser = add(
        commands,
        "train",
        run,
        help="train a model by a method",
        description="Train a model by a method (`genrlhf methods` lists them). Every field of the method's settings is "
        "an option (`genrlhf train METHOD --help` lists them), and may stand in a YAML file. Runs under `accelerate "
        "launch -m genrlhf train …` too.",
        kept=_kept,
        together=True,
    )
    parser.add_argument("method", metavar="METHOD", help="such as sft, reward_model, ppo or package.module:NAME")
    parser.add_argument(
        "fields", nargs=argparse.REMAINDER, metavar="--field VALUE", help="settings; --config FILE.yaml reads some"
    )


def _kept(args: argparse.Namespace) -> str | None:
    folder = Path(getattr(args, "output_dir", None) or "/dev/null")
    rounds = [each for each in folder.glob("iteration-*") if each.name[10:].isdigit()]
    for run in (*sorted(rounds, key=lambda each: int(each.name[10:]), reverse=True), folder):
        steps = [int(found.name[11:]) for found in run.glob("checkpoint-*") if found.name[11:].isdigit()]
        if steps:
            newest = f"{run}/checkpoint-{max(steps)} is the newest checkpoint"
            return f"{newest}; the same command with --resume_from_checkpoint true goes on from there."
    return None


@dataclass
class RunArguments:
    """What is trained, on what.

    Attributes: see their help.
    """

    model: str | None = field(
        default=None,
        metadata={"help": "The model to start from: a name on the hub, or a folder; None: the task's own."},
    )
    task: str | None = field(
        default=None,
        metadata={"help": "A task by name, such as tldr or embedded, or package.module:function, which returns one."},
    )
    train_file: str | None = field(
        default=None, metadata={"help": "A file of rows to train on, in place of a task: JSON or JSON lines."}
    )
    eval_file: str | None = field(default=None, metadata={"help": "A file of rows to evaluate on."})
    dataset_name: str | None = field(default=None, metadata={"help": "A dataset on the hub, or a folder of one."})
    dataset_config: str | None = field(default=None, metadata={"help": "The configuration of that dataset."})
    dataset_train_split: str = field(default="train", metadata={"help": "Its split to train on."})
    dataset_test_split: str | None = field(default=None, metadata={"help": "Its split to evaluate on."})
    reward: list[str] | None = field(
        default=None,
        metadata={
            "help": "Reward models (name or folder), or functions (package.module:name); several are added up, see "
            "reward_weights."
        },
    )
    reward_weights: list[float] | None = field(default=None, metadata={"help": "The weight of each reward."})
    use_peft: bool = field(default=False, metadata={"help": "Train a LoRA adapter instead of the model itself."})
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=32, metadata={"help": "Its scale: alpha / r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Its dropout; off where disable_dropout is on."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Layers that get one, or all-linear; None: those that PEFT names for the family."},
    )


def run(args: argparse.Namespace) -> int:
    """Train, and print where the model is and the last figures."""
    from genrlhf.methods import get_method

    method = get_method(args.method)
    as_json = args.json or "--json" in args.fields
    typed = _with_config([item for item in args.fields if item != "--json"])
    method.check()
    given, config, settings = _parse(method, typed, args.method)
    args.output_dir = config.output_dir
    # The Trainer prints its figures, and models print whatever they like.
    with contextlib.redirect_stdout(sys.stderr):
        result = _train(method, given, config, settings)
    if not result:
        return 0
    if as_json:
        print_json(result)
    else:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(result["figures"].items()))
        print(f"{method.label}: {result['steps']} steps, {result['output_dir']}\n{figures}")
    return 0


def _with_config(given: Sequence[str]) -> list[str]:
    """Return what was typed, with the file of --config in a word of its own.

    Raises:
        ConfigError: where it cannot be read, or names a setting twice, of which TRL's parser would take the second.
    """
    typed = [part for item in given for part in (item.split("=", 1) if item.startswith("--config=") else [item])]
    if "--config" in typed:
        if typed[-1] == "--config":
            raise ConfigError("--config cannot be read: it names no file.")
        read_yaml(typed[typed.index("--config") + 1], "name a YAML file of settings")
    return typed


def _parse(method: Method, given: list[str], typed: str) -> tuple[RunArguments, Any, Any]:
    """Return the run's arguments, the trainer's settings, and the method's own, None for none."""
    from trl import TrlParser

    class Fields(TrlParser):
        error = Parser.error

        def set_defaults_with_config(self, **values: Any) -> Any:
            return super().set_defaults_with_config(**fitting_values(kinds, values))

    config, settings = method.config_class(), method.settings_class()
    kinds: list[type[Any]] = [RunArguments, config, *([settings] if settings else [])]
    names = [each.name for kind in kinds for each in fields(kind)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigError(f"The method {method.name!r} has a setting {sorted(twice)[0]!r}, which the trainer has too.")
    parser = Fields(kinds, prog=f"genrlhf train {typed}", allow_abbrev=False)
    _show_briefly(parser)
    _set_defaults(parser, method)
    try:
        *parsed, unread, unknown = parser.parse_args_and_config(
            args=given, return_remaining_strings=True, separate_remaining_strings=True
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"The settings of {method.name} cannot be read: {' '.join(str(error).split())}") from error
    if unread:
        raise ConfigError(f"The file of --config has {_unknown(unread[0], names)}.")
    if unknown:
        parser.error(_unknown(unknown[0], names))
    for name in ("seed", "data_seed"):
        with_seed = getattr(parsed[1], name, None)
        try:
            seed(str(0 if with_seed is None else with_seed))
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --{name}: {error}")
    return parsed[0], parsed[1], parsed[2] if settings else None


def _show_briefly(parser: argparse.ArgumentParser) -> None:
    """Let the help fit a terminal: settings have long names in two spellings, and some have dozens of choices."""
    options = "[--config FILE.yaml] [--field VALUE ...]"
    gap = " " if len(f"usage: {parser.prog} {options}") <= 80 else "\n  "
    parser.usage = f"%(prog)s{gap}{options}"
    for action in parser._actions:
        if action.option_strings and action.nargs != 0:
            action.metavar = "VALUE"
            # Only what is shown: the parser knows both spellings by a table of its own.
            action.option_strings = action.option_strings[:1]
            if action.choices:
                action.help = f"{action.help} (one of {', '.join(map(str, action.choices))})"


def _unknown(option: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(option.lstrip("-").replace("-", "_"), names, n=1)
    return f"{option}, which is no setting" + (f"; did you mean --{close[0]}?" if close else "")


def _set_defaults(parser: Any, method: Method) -> None:
    """Let the recipe, and a folder called after the method, stand where nothing else is given."""
    from genrlhf.launchers import started_processes
    from genrlhf.models.processes import has_accelerator

    # Without an accelerator the settings would take each of a launcher's processes for one alone.
    several = {"use_cpu": True} if started_processes() > 1 and not has_accelerator() else {}
    parser.set_defaults_with_config(output_dir=method.name, **several, **method.recipe)


def _train(method: Method, given: RunArguments, config: Any, settings: Any) -> dict[str, Any]:
    """Train; return what is printed, nothing on processes that print nothing."""
    from accelerate import PartialState

    model, train, evaluation = _model_and_datasets(method, given)
    trainer = method.build(
        model,
        config,
        train,
        eval_dataset=evaluation,
        reward=_reward(method, given),
        settings=settings,
        peft_config=_adapter(given),
    )
    resume: Any = config.resume_from_checkpoint
    if isinstance(resume, str) and resume.lower() in ("true", "false"):
        resume = resume.lower() == "true"
    output = trainer.train(resume_from_checkpoint=resume)
    if config.save_strategy == "no":
        # No checkpoints, that says; whoever types a command wants the model all the same.
        trainer.save_model()
    figures = dict(output.metrics)
    if evaluation is not None:
        figures |= trainer.evaluate()
    if not PartialState().is_main_process:
        return {}
    numbers = {name: float(value) for name, value in figures.items() if isinstance(value, (int, float))}
    return {
        "method": method.name,
        "output_dir": str(config.output_dir),
        "steps": int(output.global_step),
        "figures": numbers,
    }


def _model_and_datasets(method: Method, given: RunArguments) -> tuple[str, Any, Any]:
    """Return the model to start from, and what is trained and evaluated on."""
    from genrlhf.data import load_task
    from genrlhf.studies.given import task_of

    sources = {"task": given.task, "train_file": given.train_file, "dataset_name": given.dataset_name}
    named = [name for name, value in sources.items() if value is not None]
    if len(named) != 1:
        raise ConfigError(
            f"Give one of --task, --train_file and --dataset_name{', not ' + ' and '.join(named) if named else ''}."
        )
    model = given.model
    if given.task is not None:
        task = task_of(given.task) if ":" in given.task else load_task(given.task)
        train, evaluation = _of_task(method, task)
        model = model or task.model
    elif given.train_file is not None:
        train, evaluation = _rows(given.train_file), None
    else:
        train = _of_hub(given, given.dataset_train_split)
        evaluation = _of_hub(given, given.dataset_test_split) if given.dataset_test_split else None
    if model is None:
        raise ConfigError("Give --model: the model to start from, a name on the hub or a folder.")
    return model, train, evaluation if given.eval_file is None else _rows(given.eval_file)


def _rows(file: str) -> Any:
    from genrlhf.data import read_rows

    return read_rows(file)


def _of_task(method: Method, task: Task) -> tuple[Any, Any]:
    kind = method.needs[0]
    train = getattr(task, kind, None)
    if train is None:
        raise DataError(f"The task {task.name!r} has no {kind}, which {method.name} needs.")
    return train, task.validation.get(kind)


def _of_hub(given: RunArguments, split: str) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(given.dataset_name, given.dataset_config, split=split)
    except Exception as error:  # of any kind: the hub's, the network's, a script's
        words = " ".join(str(error).split())[:300]
        raise DataError(f"The dataset {given.dataset_name!r} cannot be loaded, split {split!r}: {words}") from error


def _reward(method: Method, given: RunArguments) -> Any:
    """Return the reward as trainers take it: names of models, functions, or pairs with weights; None for none."""
    if "reward" not in method.needs:
        if given.reward is not None:
            raise ConfigError(f"The method {method.name!r} takes no reward; leave --reward out.")
        return None
    if not given.reward:
        raise ConfigError("Give --reward: a reward model, or package.module:function.")
    weights = given.reward_weights or [1.0] * len(given.reward)
    if len(weights) != len(given.reward):
        raise ConfigError(f"There are {len(given.reward)} rewards and {len(weights)} reward_weights; give one each.")
    found = [_one_reward(name) for name in given.reward]
    return found[0] if len(found) == 1 and weights == [1.0] else list(zip(found, weights, strict=True))


def _one_reward(name: str) -> Any:
    if ":" not in name or Path(name).exists():
        return name
    return load_place(name, f"The reward {name!r}")


def _adapter(given: RunArguments) -> Any:
    if not given.use_peft:
        return None
    from peft import LoraConfig

    # PEFT knows the word as text alone; in a list it is a layer's name.
    modules = "all-linear" if given.lora_target_modules == ["all-linear"] else given.lora_target_modules
    return LoraConfig(
        r=given.lora_r,
        lora_alpha=given.lora_alpha,
        lora_dropout=given.lora_dropout,
        target_modules=modules,
    )
