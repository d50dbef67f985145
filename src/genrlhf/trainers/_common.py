"""What all trainers do alike."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from datasets import Dataset

from genrlhf.data.log import claim_file
from genrlhf.data.schema import check_rows
from genrlhf.errors import ConfigError, DataError
from genrlhf.models.completions import context_length
from genrlhf.models.quantisation import is_quantised
from genrlhf.rewards import WeightedReward
from genrlhf.rewards.affine import calibration_of
from genrlhf.rewards.checks import reward_name
from genrlhf.sampling.decode import check_prompt_lengths

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerControl, TrainerState

    from genrlhf.types import RewardFunction

__all__ = [
    "RUN_FILE",
    "NoTelemetry",
    "StopsAtMaxSteps",
    "check_prompts",
    "claim_folder",
    "claim_output_dir",
    "default_precision",
    "named_datasets",
    "refuse_adapter_with_frozen_layers",
    "refuse_quantised_without_adapter",
    "reward_label",
    "shorter",
    "train_adapter_in_float32",
    "trl_args",
]

RUN_FILE = "genrlhf_run.json"

# Settings that may change between two starts of one run: where and how often it reports, saves and evaluates.
_FREE = frozenset(
    """
    output_dir overwrite_output_dir logging_dir logging_steps logging_first_step logging_strategy save_steps
    save_strategy save_total_limit save_only_model eval_steps eval_strategy eval_on_start report_to run_name
    disable_tqdm log_level log_level_replica push_to_hub hub_model_id hub_token hub_strategy hub_private_repo
    hub_revision hub_always_push resume_from_checkpoint local_rank load_best_model_at_end metric_for_best_model
    greater_is_better log_completions_rollouts
    num_completions_to_print per_device_eval_batch_size dataloader_num_workers skip_memory_metrics
    restore_callback_states_from_checkpoint num_train_epochs max_steps num_rollouts
    """.split()  # noqa: SIM905
)

ArgsT = TypeVar("ArgsT")


class NoTelemetry:
    """Keeps TRL's trainers from reporting their use over the network."""

    def _send_telemetry(self) -> None:
        return None


class StopsAtMaxSteps:
    """Keeps a run that is resumed from its last step from taking another.

    The Trainer asks only after a step whether there were enough.
    """

    state: TrainerState
    control: TrainerControl

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)  # type: ignore[misc]


def default_precision(args: Any) -> None:
    """Use bfloat16 where a GPU has it, unless the user chose a precision; on a CPU it would cost accuracy, and time."""
    if args.bf16 is None:
        args.bf16 = not args.fp16 and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def trl_args(args: ArgsT, **changes: Any) -> ArgsT:
    """Return the settings as TRL's trainers want them where the model is loaded already."""
    changed = copy.copy(args)
    for name, value in {"model_init_kwargs": None, **changes}.items():
        setattr(changed, name, value)
    return changed


def refuse_adapter_with_frozen_layers(freeze_layers: float, peft_config: PeftConfig | None, model: Any) -> None:
    """Raise `ConfigError` where both are asked for, or `model` brings an adapter along."""
    if freeze_layers and (peft_config is not None or hasattr(model, "peft_config")):
        raise ConfigError(
            f"freeze_layers={freeze_layers} and an adapter (peft_config) exclude each other, since an adapter freezes "
            "the whole base; drop one (layers_to_transform in a LoraConfig puts the adapter on the last layers only)."
        )


def refuse_quantised_without_adapter(model: Any, peft_config: PeftConfig | None) -> None:
    """Raise `ConfigError` where the weights to train are quantised."""
    if is_quantised(model) and peft_config is None and not hasattr(model, "peft_config"):
        raise ConfigError(
            "Quantised weights cannot be trained; pass peft_config to train an adapter on them, or load the model "
            "without quantization_config."
        )


def train_adapter_in_float32(model: Any, *, autocast: bool) -> None:
    """Hold in float32 what is trained of a quantised model, where TRL's trainers have made it bfloat16.

    Small steps would be rounded away, a run that is resumed would go on in float32, since peft reads adapters so, and a
    score head in bfloat16 takes no hidden states in float32.

    Args:
        model: any model; left alone where it is not quantised, or where a float32 head would not fit it.
        autocast: it runs in mixed precision, where every dtype fits.
    """
    if is_quantised(model) and (autocast or model.dtype == torch.float32):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()


def named_datasets(train: Dataset | None, evaluation: Dataset | dict[str, Dataset] | None) -> list[tuple[str, Dataset]]:
    """Return the datasets there are, each with the name it has in messages.

    Raises:
        DataError: for anything that is no `datasets.Dataset`.
    """
    named = [("train_dataset", train)] if train is not None else []
    if isinstance(evaluation, dict):
        named += [(f"eval_dataset[{key!r}]", dataset) for key, dataset in evaluation.items()]
    elif evaluation is not None:
        named.append(("eval_dataset", evaluation))
    for name, dataset in named:
        if not isinstance(dataset, Dataset):
            raise DataError(
                f"{name} is a {type(dataset).__name__}; give a datasets.Dataset (Dataset.from_list makes one)."
            )
    return named


def check_prompts(
    dataset: Dataset, source: str, *, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int
) -> None:
    """Check that every row has a prompt, which leaves room for a completion in the model's context.

    Raises:
        DataError: naming `source` and the row.
        ConfigError: where no prompt would leave room.
    """
    check_rows(dataset, ["prompt"], source=source)
    context = context_length(model)
    limit = context - max_new_tokens if context is not None else None
    if limit is not None and limit < 1:
        raise ConfigError(
            f"max_new_tokens={max_new_tokens} leaves no room for a prompt in the model's context of {context} tokens; "
            "lower it."
        )
    for start in range(0, len(dataset), 1000):
        prompts = dataset[start : start + 1000]["prompt"]
        check_prompt_lengths(tokenizer, prompts, max_length=limit, source=source, first_row=start)


def shorter(a: int | None, b: int | None) -> int | None:
    """Return the smaller of two limits, where None is no limit."""
    return min((limit for limit in (a, b) if limit is not None), default=None)


def reward_label(reward: RewardFunction) -> str:
    """Return what tells a reward from others: where its model came from and its calibration, or a callable's name."""
    if isinstance(reward, WeightedReward):
        terms = zip(reward.weights, reward.rewards, strict=True)
        return " + ".join(f"{weight:g} {reward_label(term)}" for weight, term in terms)
    config = getattr(getattr(reward, "model", None), "config", None)
    label = str(getattr(config, "_name_or_path", "")) or reward_name(reward)
    gain, bias = calibration_of(config)
    return label if (gain, bias) == (1, 0) else f"{label}, gain {gain:g}, bias {bias:g}"


def claim_output_dir(
    trainer: Any,
    *,
    base_model: str,
    resuming: bool,
    reward: RewardFunction | None = None,
    value_model: str | None = None,
) -> bool:
    """Write down which run `output_dir` holds, or refuse it where it holds another.

    Two starts of one run are alike in trainer, base model, reward and every setting that changes the result, the length
    of the training apart.

    Returns:
        Whether this run takes the place of another, as `overwrite_output_dir` allows.

    Raises:
        RunFolderError: naming the settings that differ, unless `overwrite_output_dir` is set.
    """
    args = trainer.args
    settings = {key: value for key, value in args.to_dict().items() if key not in _FREE and not key.startswith("_")}
    run = {"trainer": type(trainer).__name__, "base_model": base_model, **settings}
    if reward is not None:
        run["reward"] = reward_label(reward)
    if value_model is not None:
        run["value_model"] = value_model
    return claim_folder(
        Path(args.output_dir),
        run,
        act="resume" if resuming else "train",
        remedy="Choose another output_dir, use the same settings, or set overwrite_output_dir=True.",
        overwrite=args.overwrite_output_dir,
        write=args.should_save,
    )


def claim_folder(
    folder: Path, run: dict[str, Any], *, act: str, remedy: str, overwrite: bool = False, write: bool = True
) -> bool:
    """Write the settings of a run to `RUN_FILE` in `folder`, or refuse it where other settings stand there.

    Returns:
        Whether `folder` held a run with other settings, which `overwrite` made this one take the place of.

    Raises:
        RunFolderError: naming the settings that differ.
    """
    return claim_file(folder / RUN_FILE, run, place=folder, act=act, remedy=remedy, overwrite=overwrite, write=write)
