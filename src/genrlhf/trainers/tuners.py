"""How a policy is tuned on rows: the trainers for it, in the folder of a run that another trainer has claimed."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any, cast

import transformers
from datasets import Dataset

from genrlhf.errors import ConfigError
from genrlhf.trainers.groups import Group
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.preference_tuning import DPOConfig, DPOTrainer
from genrlhf.trainers.sft import SFTTrainer
from genrlhf.trainers.transforms import as_transform
from genrlhf.trainers.tuning_rows import COMPLETIONS, Tune

__all__ = ["PairTuner", "SupervisedTuner", "every_group", "kind_of", "pairwise_args", "tuner_in"]


class SupervisedTuner(SFTTrainer):
    """SFT in a folder that is claimed already, and in which the trainer around it leaves the model."""

    leaves_model = False

    def _claim_output_dir(self, resuming: bool) -> None:
        return None


class PairTuner(DPOTrainer):
    """The same for DPO."""

    leaves_model = False

    def _claim_output_dir(self, resuming: bool) -> None:
        return None


_SHARED = "freeze_layers max_length disable_dropout dataset_num_proc trust_remote_code router_aux_loss_coef"


def pairwise_args(args: Any) -> DPOConfig:
    """Return the settings of DPO: those that it shares with `args`, and what stands in `args.pairwise`.

    Raises:
        ConfigError: for a setting that `DPOConfig` does not have.
    """
    given = args.pairwise or {}
    known = {field.name for field in dataclasses.fields(DPOConfig) if field.init}
    if not isinstance(given, dict) or set(given) - known:
        wrong = sorted(set(given) - known)[0] if isinstance(given, dict) else given
        raise ConfigError(f"pairwise has {wrong!r}, which is no setting of DPOConfig; leave it out.")
    common = {field.name for field in dataclasses.fields(transformers.TrainingArguments) if field.init}
    shared = {
        name: getattr(args, name) for name in sorted(known & (common | set(_SHARED.split()))) if hasattr(args, name)
    }
    return DPOConfig(**{**shared, **given})


def tuner_in(
    folder: Path, args: Any, *, tune: Tune, rows: Dataset, objective: Objective | None, **given: Any
) -> SupervisedTuner | PairTuner:
    """Return what tunes on rows in a folder.

    Args:
        folder: of the round.
        args: `SampleAndTuneConfig`.
        tune: how the rows are tuned on.
        rows: with their tokens.
        objective: of the loss; None for the cross-entropy, or DPO's.
        given: further arguments of the trainer.
    """
    if tune == "pairwise":
        of_pairs = pairwise_args(args)
        of_pairs.output_dir = str(folder)
        return PairTuner(args=of_pairs, train_dataset=rows, **given)
    args = copy.copy(args)
    args.output_dir = str(folder)
    read = () if objective is None else objective.columns
    weighed = args.weight_column in rows.column_names and args.weight_column not in read
    args.weight_column = args.weight_column if weighed else None
    return SupervisedTuner(args=args, train_dataset=rows, objective=objective, **given)


def every_group(groups: list[Group]) -> list[dict[str, Any]]:
    """The transform that ranks all completions."""
    return [group.ranking() for group in groups]


def kind_of(tune: Any, transform: Any, objective: Objective | None) -> Tune:
    """Return how rows are tuned on.

    Raises:
        ConfigError: for another word, or what cannot go together.
    """
    of_groups = objective is not None and objective.unit == "group"
    found = tune or getattr(transform, "tune", None) or ("ranking" if of_groups else "supervised")
    if found not in COMPLETIONS:
        raise ConfigError(f"tune is {found!r}; it must be one of {', '.join(COMPLETIONS)}.")
    kind = cast("Tune", found)
    if transform is None and kind != "ranking":
        raise ConfigError(f"tune={kind!r} needs a transform, a function of groups that returns rows; give one.")
    if transform is not None:
        as_transform(transform)
    if kind == "pairwise" and objective is not None:
        raise ConfigError(f"tune='pairwise' is DPO, and objective={objective.title} another loss; leave one out.")
    if of_groups != (kind == "ranking"):
        given = "no objective" if objective is None else f"objective={objective.title}, of unit {objective.unit!r}"
        raise ConfigError(f"There is tune={kind!r}, and {given}; ranking wants an objective of groups, such as RRHF().")
    return kind
