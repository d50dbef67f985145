"""Which run an output folder holds, and what makes two starts one run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.fingerprint import dataset_fingerprint
from genrlhf.data.log import claim_file
from genrlhf.errors import ConfigError
from genrlhf.launchers import started_processes
from genrlhf.models.fingerprint import tokenizer_fingerprint
from genrlhf.trainers.checkpoint import checkpoints_in, discard
from genrlhf.trainers.describe import Description, describe_model, describe_reward
from genrlhf.trainers.shared import decided_by_main

if TYPE_CHECKING:
    from genrlhf.types import RewardFunction

__all__ = ["CHANGES_NOTHING", "FREE", "RUN_FILE", "claim_folder", "claim_output_dir"]

RUN_FILE = "genrlhf_run.json"

_LENGTH = "num_train_epochs max_steps num_rollouts"

_REPORTS = """
    logging_dir logging_steps logging_first_step logging_strategy logging_nan_inf_filter log_on_each_node log_level
    log_level_replica disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id include_num_input_tokens_seen include_tokens_per_second skip_memory_metrics debug
    log_completions_rollouts num_completions_to_print log_completions
"""

_SAVES = """
    output_dir overwrite_output_dir save_steps save_strategy save_total_limit save_only_model save_on_each_node
    save_safetensors enable_jit_checkpoint resume_from_checkpoint restore_callback_states_from_checkpoint push_to_hub
    hub_model_id hub_token hub_strategy hub_private_repo hub_revision hub_always_push load_best_model_at_end
    metric_for_best_model greater_is_better
"""

_EVALUATION = """
    do_train do_eval do_predict eval_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size
    prediction_loss_only eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics
    batch_eval_metrics fp16_full_eval bf16_full_eval eval_packing
"""

# The same numbers up to rounding, on another machine, in less memory or in less time.
_MACHINE = """
    use_cpu local_rank dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context dataset_num_proc ddp_find_unused_parameters
    ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout parallelism_config tp_size
    full_determinism torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps
    gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing activation_checkpointing_kwargs
    activation_offloading use_cache use_liger_kernel liger_kernel_config sampling_batch_size reward_batch_size
    trust_remote_code
"""

# The tokenizer, which has its template, is known by its contents.
_KNOWN_OTHERWISE = "chat_template_path"

FREE = frozenset(f"{_LENGTH} {_REPORTS} {_SAVES} {_EVALUATION} {_MACHINE} {_KNOWN_OTHERWISE}".split())
"""Fields of the settings that may change between two starts of one run; any other one may not, new ones included."""

CHANGES_NOTHING = frozenset(
    f"{_REPORTS} {_MACHINE} save_steps save_strategy save_total_limit save_only_model save_on_each_node".split()
)
"""Fields that say how a run is watched, kept and computed, and change nothing in what it ends with."""

_MODELS = ("ref_model", "value_model")
_ARGUMENTS = (
    "advantage_function",
    "compute_loss_func",
    "data_collator",
    "formatting_func",
    "group_reward",
    "objective",
    "optimizer_cls_and_kwargs",
    "optimizers",
    "policy_loss",
    "sampler",
    "shape_reward",
    "transform",
    "tune",
    *_MODELS,
)


def claim_output_dir(
    trainer: Any,
    *,
    base_model: str,
    resuming: bool,
    data: Any = None,
    reward: RewardFunction | None = None,
    arguments: Mapping[str, Any] | None = None,
    clear: Callable[[], None] | None = None,
) -> bool:
    """Write down which run `output_dir` holds, or refuse it where it holds another.

    Two starts of one run are alike in trainer, weights of the base model, tokenizer, adapter, contents of the training
    data, reward, what else the trainer was given, and every setting that changes the result, the length of the training
    apart.

    Args:
        trainer: with `args`, and what it has of `model`, `processing_class`.
        base_model: the name of the model that it starts from.
        resuming: whether a checkpoint is gone on from.
        data: the training data as the user gave them.
        reward: what is maximised.
        arguments: further arguments of the trainer, by name.
        clear: removes what another run has left, where this one takes its place and is not resumed; by default the
            checkpoints in `output_dir`.

    Returns:
        Whether this run takes the place of another, as `overwrite_output_dir` allows.

    Raises:
        RunFolderError: naming the settings that differ, unless `overwrite_output_dir` is set.
        ConfigError: where the processes of a launcher do not know of each other.
    """
    if started_processes() > 1 == trainer.args.world_size:
        raise ConfigError(
            f"A launcher has started {started_processes()} processes, and the settings take each for one alone: all "
            f"would train the same into {trainer.args.output_dir}; set use_cpu=True where there is no accelerator."
        )
    return decided_by_main(
        lambda: _claim(
            trainer,
            {"base_model": base_model, "data": data, "reward": reward, "arguments": arguments or {}},
            resuming=resuming,
            clear=clear,
        )
    )


def _claim(trainer: Any, given: dict[str, Any], *, resuming: bool, clear: Callable[[], None] | None) -> bool:
    args = trainer.args
    folder = Path(args.output_dir)
    settings = {key: value for key, value in args.to_dict().items() if key not in FREE and not key.startswith("_")}
    run = {"trainer": type(trainer).__name__, **_parts(trainer, **given), **settings}
    if resuming and checkpoints_in(folder) and not (folder / RUN_FILE).is_file():
        warnings.warn(
            f"{folder} has checkpoints and no {RUN_FILE}, as plain transformers leaves them: whether they are of a run "
            "with these settings and data is not known, and not compared.",
            stacklevel=2,
        )
    claim = partial(
        claim_folder,
        folder,
        run,
        act="resume" if resuming else "train",
        remedy="Choose another output_dir, use the same settings, or set overwrite_output_dir=True.",
        overwrite=args.overwrite_output_dir,
    )
    replaced = claim(write=False)
    if replaced and not resuming:
        # Before the claim, or what the other run has left would pass for this one's after a kill.
        (clear or partial(_discard_checkpoints, folder))()
    claim()
    return replaced


def _discard_checkpoints(folder: Path) -> None:
    for checkpoint in checkpoints_in(folder).values():
        discard(checkpoint)


def _parts(trainer: Any, base_model: str, data: Any, reward: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Describe what a trainer was given, as it is before it trains for the first time."""
    parts: dict[str, Any] | None = getattr(trainer, "_run_parts", None)
    if parts is not None:
        return parts
    description = Description()
    policy = getattr(trainer, "policy", None) or getattr(trainer, "model", None)
    tokenizer = getattr(trainer, "processing_class", None)
    parts = {
        "base_model": {**(describe_model(policy) or {"digest": base_model}), "name": base_model},
        "data": dataset_fingerprint(data),
        "tokenizer": None if tokenizer is None else {"name": "", "digest": tokenizer_fingerprint(tokenizer)},
        "peft_config": _adapters(policy if hasattr(policy, "peft_config") else trainer),
        "reward": None if reward is None else describe_reward(reward, description),
    }
    for name in _ARGUMENTS:
        value = arguments.get(name)
        given = any(item is not None for item in value) if isinstance(value, tuple) else value is not None
        if not given:
            parts[name] = None
        else:
            parts[name] = describe_model(value) if name in _MODELS else description.of(value)
    if description.unknown:
        warnings.warn(
            f"What this run was given keeps {', '.join(sorted(set(description.unknown)))}, which cannot be compared "
            "between two starts: a change would go unnoticed when the run is resumed. Give the object (or function) a "
            "method settings() that returns what its results depend on.",
            stacklevel=2,
        )
    trainer._run_parts = parts
    return parts


def _adapters(source: Any) -> Any:
    """Describe the adapters of a model, or the one that a trainer is to make."""
    config = getattr(source, "peft_config", None)
    if config is None:
        return None
    configs = config if isinstance(config, Mapping) else {"default": config}
    origin = ("base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version")
    return {
        name: Description().of({key: value for key, value in each.to_dict().items() if key not in origin})
        for name, each in configs.items()
    }


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
