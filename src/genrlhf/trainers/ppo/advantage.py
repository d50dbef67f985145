"""How the rewards of a rollout become advantages: by values of a critic, or among the completions of a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from genrlhf.errors import ConfigError, RewardError, ShapeError
from genrlhf.ops import GROUP_ADVANTAGES
from genrlhf.trainers.own_code import check_call, named_errors
from genrlhf.trainers.ppo.checks import check_groups

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.config import PPOConfig

__all__ = ["SAMPLES", "GroupAdvantage", "group_advantage", "samples_read", "spread_over_tokens"]

GroupAdvantage: TypeAlias = Callable[..., torch.Tensor]
"""`rewards, (G, n) float32 -> advantages, (G, n)`, of the n completions of each of G prompts.

Of `SAMPLES` it gets, by name and as G lists of n, those that it has parameters for.
"""

SAMPLES = ("completions", "completion_ids", "ended")
"""Texts, tokens with the EOS, and False where a completion was cut off."""


def group_advantage(args: PPOConfig, function: GroupAdvantage | None = None) -> GroupAdvantage | None:
    """Return the estimator of a run, None for generalised advantage estimation with a critic.

    Args:
        args: the settings.
        function: in place of the one that these name.

    Raises:
        ConfigError: for a function beside a name, or without groups.
    """
    if function is None:
        if args.advantage == "gae":
            return None
        found = GROUP_ADVANTAGES[args.advantage]
        return partial(found, k=args.pass_k) if args.advantage == "pass_at_k" else found
    if not callable(function):
        raise ConfigError(f"advantage is a {type(function).__name__}; give a function of rewards, (prompts, n).")
    if args.advantage != "gae":
        raise ConfigError(
            f"PPOConfig(advantage={args.advantage!r}) and PPOTrainer(advantage=…) both say how; leave one of them out."
        )
    wanted = samples_read(function)
    called = partial(function, **dict.fromkeys(wanted)) if wanted else function
    check_call(called, ("rewards",), "advantage", by_name=SAMPLES)
    # Whoever writes an estimator may want it normalised over the rollout, as that of REINFORCE++ is.
    check_groups(args, "an advantage function", whitened=True)
    return function


def samples_read(function: Any) -> tuple[str, ...]:
    """Return which of `SAMPLES` a function has parameters for."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):  # of a function that is not written in Python
        return ()
    return tuple(name for name in SAMPLES if name in parameters)


def spread_over_tokens(
    rewards: torch.Tensor,
    n: int,
    estimate: GroupAdvantage,
    mask: torch.Tensor,
    samples: Mapping[str, Sequence[Sequence[Any]]],
) -> torch.Tensor:
    """Return the advantages of all tokens, (B, T) float32: one of a completion for each of its tokens.

    Args:
        rewards: (B,) float32, of completions, the n of a prompt side by side.
        n: completions of a prompt.
        estimate: the estimator.
        mask: (B, T) bool.
        samples: what it gets beside the rewards, by name: n values of each prompt.

    Raises:
        ShapeError: where the estimator returns another shape.
        RewardError: where it returns what is not finite.
    """
    groups = rewards.float().view(-1, n)
    with named_errors("The advantage function"):
        found: Any = estimate(groups, **samples)
    if not isinstance(found, torch.Tensor) or found.shape != groups.shape:
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ShapeError(
            f"The advantage function returned {shape} for rewards of {tuple(groups.shape)}; want the same."
        )
    bad = ~found.isfinite()
    if bad.any():
        group = int(bad.any(-1).nonzero()[0])
        raise RewardError(
            f"The advantage function returned {found[group].tolist()} for the rewards {groups[group].tolist()}; "
            "advantages must be finite."
        )
    return found.to(rewards.dtype).reshape(-1, 1) * mask
