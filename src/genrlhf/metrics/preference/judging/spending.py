"""What calls of an endpoint take, and a budget that stops before it is exceeded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genrlhf.errors import ConfigError, JudgeError

__all__ = ["Spending", "Usage", "longest_prompt"]

_CHARACTERS_A_TOKEN = 2.0
"""Few enough that a prompt has no more tokens than its characters by this, in most languages."""


@dataclass
class Usage:
    """What a judge's calls took, this time.

    Attributes:
        answered: calls that were answered now.
        stored: answers that were there already.
        failed: calls without an answer after all attempts.
        attempts: requests sent.
        prompt_tokens: of the calls that were answered now.
        completion_tokens: of these.
        cost: of these, in the unit of the prices; None without prices.
        last_error: why the latest attempt that failed did.
    """

    answered: int = 0
    stored: int = 0
    failed: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    last_error: str = field(default="", repr=False)


class Spending:
    """Counts tokens and money.

    Args:
        prices: of a million prompt tokens and of a million completion tokens; None for no count of money.
        budget: in the unit of the prices; None for no end.

    Raises:
        ConfigError: for prices below 0, or a budget of nothing or without prices.
    """

    def __init__(self, prices: tuple[float, float] | None, budget: float | None) -> None:
        if prices is not None and min(prices) < 0:
            raise ConfigError(f"prices must be 0 or more, not {prices}.")
        if budget is not None and not budget > 0:
            raise ConfigError(f"budget must be above 0, not {budget}.")
        if budget is not None and prices is None:
            raise ConfigError("A budget needs prices, of a million prompt tokens and of a million completion tokens.")
        self.prices = prices
        self.budget = budget
        self.usage = Usage(cost=None if prices is None else 0.0)
        self._reserved = 0.0
        self.exhausted = False

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return what so many tokens cost, None without prices."""
        if self.prices is None:
            return None
        return (prompt_tokens * self.prices[0] + completion_tokens * self.prices[1]) / 1e6

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Set aside what a call may cost and return it; where that would go over the budget, note that instead."""
        most = self.cost(prompt_tokens, completion_tokens)
        if self.budget is None or most is None:
            return 0.0
        self.exhausted = self.exhausted or (self.usage.cost or 0.0) + self._reserved + most > self.budget
        if self.exhausted:
            return 0.0
        self._reserved += most
        return most

    def release(self, reserved: float) -> None:
        """Take back what was set aside for a call that is done with."""
        self._reserved -= reserved

    def count(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add a call that was answered."""
        self.usage.answered += 1
        self.usage.prompt_tokens += prompt_tokens
        self.usage.completion_tokens += completion_tokens
        cost = self.cost(prompt_tokens, completion_tokens)
        if cost is not None and self.usage.cost is not None:
            self.usage.cost += cost

    def raise_if_exhausted(self) -> None:
        """Raise `JudgeError` where a call was not made for want of money."""
        if self.exhausted:
            raise JudgeError(
                f"The budget of {self.budget:g} is reached: {self.usage.cost:.6g} is spent on {self.usage.answered} "
                "answers, and another call might go over it. The answers are kept; raise the budget to go on."
            )


def longest_prompt(conversation: Sequence[Mapping[str, str]]) -> int:
    """Return how many tokens a conversation has at most."""
    # Some tokens go to roles and marks.
    return sum(8 + int(len(message["content"]) / _CHARACTERS_A_TOKEN) for message in conversation)
