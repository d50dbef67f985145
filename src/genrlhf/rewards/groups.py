"""Rewards of completions that see the others of their prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from genrlhf.errors import ConfigError, DataError, RewardError, excerpt
from genrlhf.rewards.calls import CallableReward
from genrlhf.rewards.checks import check_rewards
from genrlhf.rewards.signatures import SAMPLED, bind

if TYPE_CHECKING:
    import torch

    from genrlhf.types import GroupRewardFunction

__all__ = ["GROUPED", "GroupReward", "as_group_reward", "check_group_rewards"]

GROUPED = "rewards"
"""The name under which a group reward gets the rewards that it starts from, which no column may have."""

Groups: TypeAlias = Sequence[Sequence[str]]


class GroupReward(CallableReward):
    """A callable of `(prompts, completions, rewards, **columns)` that sees all completions of a prompt at once.

    It is called as a reward is, by keyword where its parameters have these names, with G prompts, the n completions of
    each as a list, and their rewards, (G, n) float32 on the CPU. It returns new ones of that shape: lists, an array or
    a tensor. Of the columns it gets the G values of the prompts; `completion_ids` and `ended` have a list for each
    prompt, of its n completions.

    Args:
        function: what the user wrote, maybe asynchronous.
    """

    noun = "groups"

    def rewards(
        self, prompts: Sequence[Any], groups: Groups, rewards: torch.Tensor, columns: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return the new rewards, (G, n) float32 on the device of `rewards`.

        Raises:
            RewardError: where they are of another shape or not finite, naming prompt and completion.
        """
        found = self(prompts, groups, **{**columns, GROUPED: rewards.cpu()})  # type: ignore[arg-type]
        return rewards.new_tensor(check_group_rewards(found, prompts, groups, name=self.name))

    def check_columns(self, columns: Sequence[str], *, source: str) -> None:
        """Raise `RewardError` where it wants what rows of these columns do not give it.

        Raises:
            DataError: where a column has the name under which it gets the rewards.
        """
        if GROUPED in columns:
            raise DataError(
                f"{source} has a column {GROUPED!r}, the name under which a group reward gets the rewards of the "
                f"completions; rename it with dataset.rename_column({GROUPED!r}, …), or drop it."
            )
        self.check_arguments([*SAMPLED, *(name for name in columns if name != "prompt")])

    def check_arguments(self, names: Sequence[str]) -> None:
        """Raise `RewardError` where it wants what these names beside prompts, completions and rewards do not give."""
        bind(self.function, [], [], {name: [] for name in (GROUPED, *names)}, name=self.name)


def as_group_reward(
    function: GroupRewardFunction | GroupReward | None, *, argument: str = "group_reward"
) -> GroupReward | None:
    """Return a group reward of what a user gave as `argument`, None for None.

    Raises:
        ConfigError: for what cannot be called, or a class in place of one of its objects.
    """
    if function is None or isinstance(function, GroupReward):
        return function
    if isinstance(function, type) or not callable(function):
        raise ConfigError(
            f"{argument} is {excerpt(function)}; give a function (or object to call) of prompts, completions and "
            "rewards."
        )
    return GroupReward(function)


def check_group_rewards(values: Any, prompts: Sequence[Any], groups: Groups, *, name: str) -> list[list[float]]:
    """Return what a group reward gave as lists of floats, one for each completion of each prompt.

    Args:
        values: (G, n) numbers, as lists, an array or a tensor, or a list of G such of (n,).
        prompts: G of them.
        groups: the n completions of each.
        name: of the reward, for messages.

    Raises:
        RewardError: where there are other than G lists of n finite numbers; the message shows prompt and completion.
    """
    size = len(groups[0]) if groups else 0
    wanted = f"one number for each of the {size} completions of each of the {len(groups)} prompts"
    rows = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)) or len(rows) != len(groups):
        shape = tuple(values.shape) if hasattr(values, "shape") else excerpt(values)
        raise RewardError(f"The group reward {name} returned {shape}; it must return {wanted}.")
    return [
        check_rewards(row, [prompt] * len(group), group, name=f"{name} (of groups)")
        for row, prompt, group in zip(rows, prompts, groups, strict=True)
    ]
