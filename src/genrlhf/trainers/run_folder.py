"""Which run an output folder holds, and what makes two starts one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.log import claim_file
from genrlhf.rewards import WeightedReward
from genrlhf.rewards.affine import calibration_of
from genrlhf.rewards.checks import reward_name

if TYPE_CHECKING:
    from genrlhf.types import RewardFunction

__all__ = ["RUN_FILE", "claim_folder", "claim_output_dir", "reward_label"]

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
