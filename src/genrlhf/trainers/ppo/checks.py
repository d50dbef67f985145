"""Which settings of PPO can go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf.errors import ConfigError
from genrlhf.ops import GROUP_ADVANTAGES, KL_ESTIMATORS

if TYPE_CHECKING:
    from genrlhf.rewards.groups import GroupReward
    from genrlhf.trainers.ppo.config import PPOConfig

__all__ = ["check_group_reward", "check_groups", "check_settings"]

ADVANTAGES = ("gae", *GROUP_ADVANTAGES)
LOSS_MEANS = ("token", "sequence", "constant")
RENORMALISE = ("nothing", "min_new_tokens", "all")
_OF_THE_REWARD_ITSELF = ("maxrl", "pass_at_k")
"""Estimators that mean nothing once a KL penalty has been taken off the reward."""


def check_settings(args: PPOConfig) -> None:
    """Raise `ConfigError` for settings that cannot go together."""
    _check_advantage(args)
    _check_combinations(args)


def _check_advantage(args: PPOConfig) -> None:
    name = args.advantage
    if name not in ADVANTAGES:
        raise ConfigError(f"advantage must be one of {', '.join(ADVANTAGES)}, not {name!r}.")
    if args.loss_mean not in LOSS_MEANS:
        raise ConfigError(f"loss_mean must be one of {', '.join(LOSS_MEANS)}, not {args.loss_mean!r}.")
    if name == "gae":
        return
    check_groups(args, f"advantage={name!r}")
    if name == "pass_at_k" and args.pass_k > args.samples_per_prompt:
        raise ConfigError(f"pass_k is {args.pass_k}, and samples_per_prompt is {args.samples_per_prompt}; lower it.")
    if name in _OF_THE_REWARD_ITSELF:
        _check_reward_is_untouched(args)


def check_group_reward(args: PPOConfig, group_reward: GroupReward | None, *, argument: str = "group_reward") -> None:
    """Raise `ConfigError` for settings that a reward of groups cannot go with."""
    if group_reward is None:
        return
    _check_size(args, f"{argument}={group_reward.name}")
    if args.advantage == "pass_at_k":
        raise ConfigError(
            f"advantage='pass_at_k' counts successes of 0 and 1, which {argument}={group_reward.name} would change; "
            f"choose another advantage, or leave {argument} out."
        )


def _check_size(args: PPOConfig, what: str) -> None:
    if args.samples_per_prompt < 2:
        raise ConfigError(
            f"With {what} the completions of a prompt are compared, and samples_per_prompt is "
            f"{args.samples_per_prompt}; set it to 2 or more, such as 8."
        )


def check_groups(args: PPOConfig, what: str, *, whitened: bool = False) -> None:
    """Raise `ConfigError` where `what` compares completions of a prompt and cannot; `whitened`: by those of others."""
    _check_size(args, what)
    if (args.whiten_advantages and not whitened) or args.whiten_rewards:
        raise ConfigError(
            f"whiten_advantages and whiten_rewards rescale over the rollout what {what} has made relative to the "
            "group, by a random number that biases the gradient; leave them at None and False."
        )


def _check_reward_is_untouched(args: PPOConfig) -> None:
    name = args.advantage
    if args.kl_coef > 0 and not args.kl_in_loss:
        raise ConfigError(
            f"advantage={name!r} needs the reward itself, and a KL penalty would be taken off it; set "
            "kl_in_loss=True with kl_estimator='k3', or kl_coef=0."
        )
    lowest = 0.0 if args.missing_eos_score is None else args.missing_eos_score
    wrong = {
        "missing_eos_score": lowest < 0 or (name == "pass_at_k" and lowest not in (0.0, 1.0)),
        "missing_eos_penalty": bool(args.missing_eos_penalty),
        "length_penalty": args.length_penalty != 0,
        "scale_scores": name == "pass_at_k" and args.scale_scores,
        "clip_scores": name == "pass_at_k" and args.clip_scores is not None and args.clip_scores < 1,
    }
    for setting, is_wrong in wrong.items():
        if is_wrong:
            wanted = "0 or 1" if name == "pass_at_k" else "0 or more"
            raise ConfigError(
                f"advantage={name!r} needs rewards of {wanted}, which {setting}={getattr(args, setting)} would change; "
                "leave it at a value that changes nothing (0, None or False)."
            )


def _check_combinations(args: PPOConfig) -> None:
    if args.kl_estimator not in KL_ESTIMATORS:
        raise ConfigError(f"kl_estimator must be one of {', '.join(KL_ESTIMATORS)}, not {args.kl_estimator!r}.")
    if args.renormalise not in RENORMALISE:
        raise ConfigError(f"renormalise must be one of {', '.join(RENORMALISE)}, not {args.renormalise!r}.")
    if args.remove_unused_columns:
        raise ConfigError("remove_unused_columns must stay False: rewards may use every column of the dataset.")
    if args.neftune_noise_alpha is not None:
        raise ConfigError(
            f"neftune_noise_alpha={args.neftune_noise_alpha} adds noise to embeddings while training, so that the "
            "ratios of new to old probabilities would be those of the noise; leave it at None in PPO."
        )
    if args.kl_in_loss and args.kl_estimator == "k1":
        raise ConfigError(
            "kl_in_loss needs kl_estimator k2 or k3: the gradient of k1 is 0 on average, so that it would penalise "
            "nothing."
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
