"""Calling rewards that a user wrote, synchronous or asynchronous."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from typing import Any, TypeAlias

from genrlhf.errors import GenRLHFError, RewardError, excerpt, line_of
from genrlhf.rewards.checks import reward_name
from genrlhf.rewards.event_loop import run_soon, runs_here
from genrlhf.rewards.signatures import bind
from genrlhf.types import RewardFunction

__all__ = ["AsyncRewardFunction", "CallableReward", "call_rewards"]

AsyncRewardFunction: TypeAlias = Callable[..., Awaitable[Sequence[float]]]
"""An `async def` of `(prompts, completions, **columns)`, or anything else that returns an awaitable of the values."""


class CallableReward:
    """A callable of `(prompts, completions, **columns)`, awaited where it is asynchronous, whose errors name it.

    It is called by keyword where its parameters are called `prompts` and `completions`, by position where they are not,
    and gets the columns that it takes; see `genrlhf.rewards.signatures.bind`.

    Attributes and methods that are not found here are the callable's.

    Args:
        function: what the user wrote.
    """

    noun = "completions"

    def __init__(self, function: RewardFunction | AsyncRewardFunction) -> None:
        self.function = function
        self.name = reward_name(function)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> Sequence[float]:
        """Return what the callable makes of the completions, unchecked.

        Raises:
            RewardError: where it raises anything but a `GenRLHFError`, which is passed on.
        """
        values: Sequence[float] = call_rewards([self], prompts, completions, columns)[0]
        return values

    def begin(self, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> Any:
        """Return the values, or a `Future` of them where the callable is asynchronous."""
        with self._named_errors(len(completions)):
            args, keywords = bind(self.function, prompts, completions, columns, name=self.name)
            values = self.function(*args, **keywords)
        if not inspect.isawaitable(values):
            return values
        if runs_here():
            getattr(values, "close", lambda: None)()
            raise RewardError(
                f"The reward {self.name} was called by another asynchronous reward, which would then wait for itself; "
                "await the callable itself there."
            )
        return run_soon(self._awaited(values, len(completions)))

    async def _awaited(self, values: Awaitable[Any], count: int) -> Any:
        with self._named_errors(count):
            return await values

    @contextmanager
    def _named_errors(self, count: int) -> Iterator[None]:
        try:
            yield
        except GenRLHFError:
            raise
        except Exception as error:
            raise RewardError(
                f"The reward {self.name}, asked for the rewards of {count} {self.noun}, raised {excerpt(error, 200)}"
                f"{line_of(error)}; that error is the __cause__ of this one."
            ) from error

    def __getattr__(self, name: str) -> Any:
        if name == "function":  # of a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self.function, name)


def call_rewards(
    rewards: Sequence[RewardFunction], prompts: Sequence[Any], completions: Sequence[str], columns: Mapping[str, Any]
) -> list[Any]:
    """Return what each of several rewards makes of the completions; those that are asynchronous run at the same time.

    They are begun in their order. Where one of them fails, or the wait is interrupted, the others are cancelled.
    """
    begun: list[Any] = []
    try:
        for reward in rewards:
            begun.append(getattr(reward, "begin", reward)(prompts, completions, **columns))
        done, _ = wait([values for values in begun if isinstance(values, Future)], return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    except BaseException:
        for values in begun:
            if isinstance(values, Future):
                values.cancel()
        raise
    return [values.result() if isinstance(values, Future) else values for values in begun]
