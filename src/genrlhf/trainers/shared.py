"""What all trainers do alike."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from accelerate.utils import parse_flag_from_env
from datasets import Dataset, IterableDataset
from tqdm.auto import tqdm

from genrlhf.data.chat import prompts_of
from genrlhf.data.schema import check_rows
from genrlhf.data.templates import unheard_end
from genrlhf.errors import ConfigError, DataError, RunFolderError, excerpt
from genrlhf.models.processes import decided_by_main
from genrlhf.models.structure import context_length
from genrlhf.rewards.signatures import RESERVED
from genrlhf.sampling.autoregressive import stop_token_ids
from genrlhf.sampling.decode import check_prompt_lengths

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "NoTelemetry",
    "check_name",
    "check_prompts",
    "decided_by_main",
    "device_for_trials",
    "make_output_dir",
    "named_datasets",
    "shorter",
    "shows_bars",
    "source_of",
    "trl_args",
]

logger = logging.getLogger(__name__)

ArgsT = TypeVar("ArgsT")


class NoTelemetry:
    """Keeps TRL's trainers from reporting their use over the network."""

    def _send_telemetry(self) -> None:
        return None


def check_name(name: Any, sets: Any) -> None:
    """Raise `ConfigError` where `name`, as `evaluate` is given it, is a text and not the name of one of `sets`."""
    if isinstance(name, str) and not (isinstance(sets, dict) and name in sets):
        there = f"the sets are {', '.join(map(repr, sets))}" if isinstance(sets, dict) else "the sets have no names"
        raise ConfigError(f"There is no evaluation set {name!r}; {there}. Give one of them, or a dataset.")


def device_for_trials(args: Any) -> torch.device | None:
    """Return the device that a model is tried out on; None where it is going to be sharded, and may not fit on one.

    Processes may then have their weights from each other, later, too, and would judge without them.
    """
    sharded = any(parse_flag_from_env(f"ACCELERATE_USE_{kind}") for kind in ("FSDP", "DEEPSPEED"))
    return None if sharded or args.fsdp or args.deepspeed else args.device


def trl_args(args: ArgsT, **changes: Any) -> ArgsT:
    """Return the settings as TRL's trainers want them where the model is loaded already."""
    changed = copy.copy(args)
    for name, value in {"model_init_kwargs": None, **changes}.items():
        setattr(changed, name, value)
    return changed


def named_datasets(train: Any, evaluation: Any, *, streams: bool = False) -> list[tuple[str, Any]]:
    """Return the datasets there are, each with the name it has in messages.

    Args:
        train: a dataset or None.
        evaluation: a dataset, a dictionary of several, or None.
        streams: an `IterableDataset` will do.

    Raises:
        DataError: for anything that is no `datasets.Dataset`, or has no rows.
    """
    named = [("train_dataset", train)] if train is not None else []
    if isinstance(evaluation, dict):
        named += [(f"eval_dataset[{key!r}]", dataset) for key, dataset in evaluation.items()]
    elif evaluation is not None:
        named.append(("eval_dataset", evaluation))
    for name, dataset in named:
        if isinstance(dataset, IterableDataset) and not streams:
            raise DataError(
                f"{name} is an IterableDataset, whose length is not known; make a datasets.Dataset of as many rows as "
                "you want, with Dataset.from_list(list(dataset.take(n)))."
            )
        if not isinstance(dataset, (Dataset, IterableDataset)):
            raise DataError(
                f"{name} is a {type(dataset).__name__}; give a datasets.Dataset (Dataset.from_list makes one)."
            )
        # TRL looks at the first row before anything else does.
        if (len(dataset) == 0) if isinstance(dataset, Dataset) else (next(iter(dataset), None) is None):
            raise DataError(f"{name} is empty; give at least one row.")
    return named


def make_output_dir(args: Any) -> None:
    """Make `args.output_dir`, before a model is loaded and data are read for nothing.

    Raises:
        RunFolderError: where it cannot be.
    """
    if args.should_save:
        try:
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"output_dir={excerpt(str(args.output_dir))} cannot be made a folder ({error.strerror or error}); "
                "choose another one."
            ) from error


def source_of(named: Sequence[tuple[str, Any]], dataset: Any) -> str:
    """Return the name of a dataset among those of `named_datasets`."""
    return next((name for name, known in named if known is dataset), "dataset")


def check_prompt_rows(dataset: Dataset, source: str) -> None:
    """Check that every row has a prompt, and that no column has a name under which a reward gets something else.

    Raises:
        DataError: naming `source` and the row or column.
    """
    check_rows(dataset, ["prompt"], source=source)
    for name in RESERVED:
        if name in dataset.column_names:
            raise DataError(
                f"{source} has a column {name!r}, the name under which a reward gets its {name}; rename it with "
                f"dataset.rename_column({name!r}, …), or drop it."
            )


def check_prompts(
    dataset: Dataset,
    source: str,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
    progress: bool = False,
) -> None:
    """Check that every row has a prompt, which leaves room for a completion in the model's context.

    A chat template that ends turns with a token at which samples do not end is warned of.

    Args:
        dataset: rows.
        source: what it is called in messages.
        model: the policy.
        tokenizer: its tokenizer.
        max_new_tokens: tokens a completion may have.
        progress: show a bar.

    Raises:
        DataError: naming `source` and the row.
        ConfigError: where no prompt would leave room.
    """
    check_prompt_rows(dataset, source)
    context = context_length(model)
    limit = context - max_new_tokens if context is not None else None
    if limit is not None and limit < 1:
        raise ConfigError(
            f"max_new_tokens={max_new_tokens} leaves no room for a prompt in the model's context of {context} tokens; "
            "lower it."
        )
    if isinstance(dataset[0]["prompt"], list) and (end := unheard_end(tokenizer, stop_token_ids(model, tokenizer))):
        logger.warning(
            "The chat template ends the assistant's turns with %r, and samples end at the tokenizer's EOS, %r: they "
            "may run on to max_new_tokens. Set tokenizer.eos_token = %r, or fine-tune with SFTConfig(eos_token=%r).",
            end,
            tokenizer.eos_token,
            end,
            end,
        )
    for start in tqdm(range(0, len(dataset), 1000), desc=f"Checking {source}", disable=not progress):
        prompts = prompts_of(dataset[start : start + 1000], source=source, first_row=start)
        check_prompt_lengths(tokenizer, prompts, max_length=limit, source=source, first_row=start)


def shows_bars(args: Any) -> bool:
    """Whether passes over the data show a bar: on the main process, unless `disable_tqdm`."""
    return not args.disable_tqdm and args.process_index == 0


def shorter(a: int | None, b: int | None) -> int | None:
    """Return the smaller of two limits, where None is no limit."""
    return min((limit for limit in (a, b) if limit is not None), default=None)
