"""What scores completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

__all__ = [
    "GroupRewardFunction",
    "HasSettings",
    "RewardFunction",
]


@runtime_checkable
class HasSettings(Protocol):
    """A reward (or another callable object) that says what its results depend on.

    A run that is started again with others is told apart by it, see `genrlhf.trainers.run_folder`. Functions,
    `functools.partial` and dataclasses need none.
    """

    def settings(self) -> Mapping[str, Any]:
        """Return what JSON can hold; the same whenever two objects give the same results."""
        ...


RewardFunction: TypeAlias = Callable[..., Sequence[float]]
"""`(prompts, completions, **columns) -> list[float]`, one finite number a completion."""


GroupRewardFunction: TypeAlias = Callable[..., Any]
"""`(prompts, completions, rewards, **columns) -> (G, n) numbers`, of the n completions of each of G prompts."""
