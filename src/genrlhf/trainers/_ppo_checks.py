"""What the settings of PPO must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from genrlhf.errors import ConfigError
from genrlhf.ops import KL_ESTIMATORS
from genrlhf.types import SamplingParams

if TYPE_CHECKING:
    from genrlhf.trainers.ppo_config import PPOConfig

__all__ = ["check_ppo_settings"]

AT_LEAST_ONE = (
    "num_ppo_epochs",
    "num_mini_batches",
    "max_new_tokens",
    "samples_per_prompt",
    "mask_sync_rollouts",
    "sampling_batch_size",
    "reward_batch_size",
    "num_completions_to_print",
)
SHARES = ("gamma", "lam")
ABOVE_ZERO = (
    "clip_range",
    "value_clip_range",
    "temperature",
    "kl_target",
    "kl_horizon",
    "clip_scores",
    "early_stop_kl",
)
ZERO_OR_MORE = ("kl_coef", "vf_coef", "entropy_coef", "missing_eos_penalty", "top_k", "log_completions_rollouts")
PROBABILITIES = ("top_p", "mask_top_p")

RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (AT_LEAST_ONE, lambda x: x >= 1, "at least 1"),
    (SHARES, lambda x: 0 <= x <= 1, "in [0, 1]"),
    (ABOVE_ZERO, lambda x: 0 < x < float("inf"), "above 0, and finite"),
    (ZERO_OR_MORE, lambda x: 0 <= x < float("inf"), "0 or more, and finite"),
    (PROBABILITIES, lambda x: 0 < x <= 1, "above 0 and at most 1"),
)


def check_ppo_settings(args: PPOConfig) -> None:
    """Raise `ConfigError` for settings out of range, and for those that cannot go together."""
    for names, good, wanted in RANGES:
        for name in names:
            value = getattr(args, name)
            if value is not None and not good(value):
                raise ConfigError(f"{name} must be {wanted}, not {value}.")
    if args.kl_estimator not in KL_ESTIMATORS:
        raise ConfigError(f"kl_estimator must be one of {', '.join(KL_ESTIMATORS)}, not {args.kl_estimator!r}.")
    if not 0 <= args.min_new_tokens <= args.max_new_tokens:
        raise ConfigError(
            f"min_new_tokens must lie between 0 and max_new_tokens ({args.max_new_tokens}), not {args.min_new_tokens}."
        )
    if not 0 <= args.freeze_layers < 1:
        raise ConfigError(f"freeze_layers is the share of frozen layers, in [0, 1), not {args.freeze_layers}.")
    if args.num_rollouts is not None and args.num_rollouts < 1:
        raise ConfigError(f"num_rollouts must be at least 1, not {args.num_rollouts}; None leaves it to the epochs.")
    if args.remove_unused_columns:
        raise ConfigError("remove_unused_columns must stay False: rewards may use every column of the dataset.")
    _check_combinations(args)


def _check_combinations(args: PPOConfig) -> None:
    if args.kl_in_loss and args.kl_estimator == "k1":
        raise ConfigError(
            "kl_in_loss needs kl_estimator k2 or k3: the gradient of k1 is 0 on average, so that it would penalise "
            "nothing."
        )
    if args.missing_eos_score is not None and args.missing_eos_penalty is not None:
        raise ConfigError(
            "missing_eos_score replaces a score and missing_eos_penalty lowers it; set one of them to None."
        )
    if args.rollout_batch_size % args.samples_per_prompt:
        raise ConfigError(
            f"A rollout has {args.rollout_batch_size} completions on a process (per_device_train_batch_size × "
            "gradient_accumulation_steps × num_mini_batches), which samples_per_prompt "
            f"({args.samples_per_prompt}) does not divide."
        )
    if args.early_stop_kl is not None and (args.fp16 or args.deepspeed):
        raise ConfigError(
            "early_stop_kl skips optimizer steps, which neither fp16 nor DeepSpeed can; use bf16, or None."
        )
    SamplingParams(stop=args.stop or ())  # type: ignore[arg-type]
