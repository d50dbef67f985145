"""What calls of an endpoint take, and a budget that stops before it is exceeded."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrlhf.errors import ConfigError, JudgeError

__all__ = ["Spending", "Usage", "counted_tokens", "longest_prompt"]

_HIDDEN_TOKENS = 1000
"""That a server may add to a prompt of its own accord, of tools and roles, say."""

_LETTERS = re.compile(r"[A-Za-z \n]+")


@dataclass
class Usage:
    """What a judge's calls took, this time.

    Attributes:
        answered: calls that were answered now.
        stored: answers that were there already.
        failed: calls without an answer after all attempts.
        refused: calls that the endpoint would not answer, or answered without a text: filters, length.
        attempts: requests sent.
        prompt_tokens: of all that was billed now, answers without a text among it.
        completion_tokens: of these.
        cost: of these, in the unit of the prices; None without prices.
        estimated: answers among these that came without a count, counted as long as they may have been.
        unknown: attempts that broke off, which may have been billed or not; they are not in the tokens and the cost.
        unknown_cost: what these have cost at most, which counts against a budget; None without prices.
        last_error: why the latest attempt that failed did.
    """

    answered: int = 0
    stored: int = 0
    failed: int = 0
    refused: int = 0
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    estimated: int = 0
    unknown: int = 0
    unknown_cost: float | None = None
    last_error: str = field(default="", repr=False)


class Spending:
    """Counts tokens and money.

    Args:
        prices: of a million prompt tokens and of a million completion tokens; None for no count of money.
        budget: in the unit of the prices; None for no end.

    Raises:
        ConfigError: for prices that are negative or no number, or a budget of nothing or without prices.
    """

    def __init__(self, prices: tuple[float, float] | None, budget: float | None) -> None:
        if prices is not None and not all(math.isfinite(price) and price >= 0 for price in prices):
            raise ConfigError(f"prices must be 0 or more, and finite, not {prices}.")
        self.prices = prices
        self.set_budget(budget)
        nothing = None if prices is None else 0.0
        self.usage = Usage(cost=nothing, unknown_cost=nothing)
        self.in_flight = 0
        self._reserved = 0.0
        self._counted = False
        self._excess = (0, 0)

    def set_budget(self, budget: float | None) -> None:
        """Allow so much in all, of which what has been spent is a part.

        Raises:
            ConfigError: it is nothing, or there are no prices.
        """
        if budget is not None and not (math.isfinite(budget) and budget > 0):
            raise ConfigError(f"budget must be above 0, and finite, not {budget}.")
        if budget is not None and self.prices is None:
            raise ConfigError("A budget needs prices, of a million prompt tokens and of a million completion tokens.")
        self.budget = budget
        self.exhausted = False

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return what so many tokens cost, None without prices."""
        if self.prices is None:
            return None
        return (prompt_tokens * self.prices[0] + completion_tokens * self.prices[1]) / 1e6

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Set aside what a call may cost and return it; None where that might go over the budget.

        What calls in flight cost is not known yet, and less than what is set aside for them: only without any is the
        budget exhausted. The first call goes alone, since an endpoint may count more than a text has, such as
        instructions of its own; what it counted beyond that is set aside for the next ones, too.
        """
        most = self.cost(prompt_tokens + self._excess[0], completion_tokens + self._excess[1]) or 0.0
        if self.budget is not None:
            if self.in_flight and not self._counted:
                return None
            spent = (self.usage.cost or 0.0) + (self.usage.unknown_cost or 0.0)
            # Sums of many reservations are off in the last digits.
            if spent + (self._reserved if self.in_flight else 0.0) + most > self.budget * (1 + 1e-12):
                self.exhausted = self.exhausted or not self.in_flight
                return None
        self.in_flight += 1
        self._reserved += most
        return most

    def release(self, reserved: float) -> None:
        """Take back what was set aside for a call that is done with."""
        self.in_flight -= 1
        self._reserved -= reserved

    def count(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        *,
        expected: tuple[int, int] | None = None,
        estimated: bool = False,
    ) -> None:
        """Add an answer that was billed.

        Args:
            prompt_tokens: of it.
            completion_tokens: of it.
            expected: the most that they were thought to be.
            estimated: the endpoint did not count them.
        """
        self._counted = True
        if expected is not None:
            beyond = prompt_tokens - expected[0], completion_tokens - expected[1]
            self._excess = max(self._excess[0], beyond[0]), max(self._excess[1], beyond[1])
        self.usage.prompt_tokens += prompt_tokens
        self.usage.completion_tokens += completion_tokens
        self.usage.estimated += estimated
        cost = self.cost(prompt_tokens, completion_tokens)
        if cost is not None and self.usage.cost is not None:
            self.usage.cost += cost

    def count_unknown(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add an attempt that may have been billed, as long as its answer may have been."""
        self.usage.unknown += 1
        cost = self.cost(prompt_tokens, completion_tokens)
        if cost is not None and self.usage.unknown_cost is not None:
            self.usage.unknown_cost += cost

    def raise_if_exhausted(self) -> None:
        """Raise `JudgeError` where a call was not made for want of money."""
        if not self.exhausted:
            return
        usage = self.usage
        also = f", {usage.estimated} of them without a count of the endpoint's" if usage.estimated else ""
        if usage.unknown:
            also += f", and up to {usage.unknown_cost:.6g} on {usage.unknown} attempts that broke off"
        raise JudgeError(
            f"The budget of {self.budget:g} is reached: {usage.cost:.6g} is spent on {usage.answered} answers{also}, "
            "and another call might go over it. The answers are kept; raise the budget to go on."
        )


def counted_tokens(
    usage: Any, body: Mapping[str, Any], longest_answer: int, answer_bytes: int
) -> tuple[int, int] | None:
    """Return the prompt and completion tokens that an endpoint counted, as far as they are possible.

    A text has no more tokens than bytes, so that a prompt has none beyond the request's bytes, but for what servers
    add, and an answer none beyond what it may have, or the bytes that came.

    Args:
        usage: what stands in the answer under this name.
        body: of the request.
        longest_answer: tokens that the answer may have.
        answer_bytes: that came.

    Returns:
        None where the endpoint counted nothing, or nothing that is a count.
    """
    counts: list[Any] = []
    if isinstance(usage, dict):
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not counts or not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        return None
    if counts[0] == 0:
        # No prompt is empty: this server does not count.
        return None
    most = (len(json.dumps(body).encode()) + _HIDDEN_TOKENS, max(longest_answer, answer_bytes))
    return min(int(counts[0]), most[0]), min(int(counts[1]), most[1])


def longest_prompt(conversation: Sequence[Mapping[str, str]]) -> int:
    """Return how many tokens a conversation has at most.

    Letters and blanks count half a token; digits and marks one; what is not ASCII one a byte, as in a tokenizer that
    has not seen the script. Some more go to roles and marks.
    """
    return sum(8 + _longest_text(message["content"]) for message in conversation)


def _longest_text(text: str) -> int:
    letters = sum(map(len, _LETTERS.findall(text)))
    return math.ceil(letters / 2) + len(text.encode("utf-8", "replace")) - letters
