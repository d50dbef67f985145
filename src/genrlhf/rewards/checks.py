"""What a reward must return."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

from genrlhf.errors import RewardError, excerpt

__all__ = ["check_rewards", "reward_name"]


_WITHOUT_ONE_A_COMPLETION = (str, bytes, Mapping, Set)
"""Things to iterate over that may give numbers, which are letters, keys, or in no order."""


def reward_name(reward: Any) -> str:
    """Return the name that a reward goes by in messages and logs."""
    return str(getattr(reward, "name", None) or getattr(reward, "__name__", None) or type(reward).__name__)


def check_rewards(values: Any, prompts: Sequence[Any], completions: Sequence[str], *, name: str) -> list[float]:
    """Return `values` as a list of floats, one a completion.

    They may be anything that holds one number a completion: a list, an array or a tensor, (n,) or (n, 1), a column of a
    table.

    Raises:
        RewardError: where their number differs from the number of completions, or one of them is not a finite number;
            the message shows the prompt and the completion.
    """
    try:
        if isinstance(values, _WITHOUT_ONE_A_COMPLETION):
            raise TypeError("its items are not the numbers, or have no order")
        # A table's items would be the names of its columns.
        rewards = [_number(value) for value in (values.to_numpy() if hasattr(values, "to_numpy") else values)]
    except (TypeError, ValueError) as error:
        raise RewardError(
            f"The reward {name} returned {excerpt(values)}; it must return one number for each of the "
            f"{len(completions)} completions."
        ) from error
    if len(rewards) != len(completions):
        raise RewardError(
            f"The reward {name} returned {len(rewards)} values for {len(completions)} completions; it must return one "
            "for each, in their order."
        )
    for value, prompt, completion in zip(rewards, prompts, completions, strict=True):
        if not math.isfinite(value):
            raise RewardError(
                f"The reward {name} gave {value} to the completion {excerpt(completion)} of the prompt "
                f"{excerpt(prompt)}; return a finite number for every completion."
            )
    return rewards


def _number(value: Any) -> float:
    """Return a number, which may be the only item of a list, an array or a tensor."""
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    shape = getattr(value, "shape", ())
    if shape and math.prod(shape) != 1:
        raise TypeError(f"an item of shape {tuple(shape)} is not one number")
    return float(value.item() if hasattr(value, "item") else value)
