"""Money that is set aside, spent and counted."""

from __future__ import annotations

import pytest

from genrlhf.errors import ConfigError, JudgeError
from genrlhf.metrics.preference.judging.spending import Spending, longest_prompt


def test_what_may_be_spent_is_set_aside_until_it_is_known() -> None:
    # 10 prompt and 5 completion tokens at 100,000 and 200,000 a million: 1 + 1 = 2.
    spending = Spending((1e5, 2e5), 5.0)
    assert spending.reserve(10, 5) == 2.0
    # What the endpoint counts is not known before the first answer.
    assert spending.reserve(10, 5) is None and not spending.exhausted
    spending.count(0, 0)
    assert spending.reserve(10, 5) == 2.0
    # As long as calls are in flight, it is not known whether another fits.
    assert spending.reserve(10, 5) is None and not spending.exhausted
    spending.count(10, 0)
    spending.release(2.0)
    assert spending.usage.cost == 1.0
    assert spending.reserve(10, 5) == 2.0
    assert spending.reserve(1, 0) is None and not spending.exhausted
    spending.count(10, 5, estimated=True)
    spending.count_unknown(10, 0)
    spending.release(2.0)
    spending.release(2.0)
    assert spending.usage.cost == 3.0 and spending.usage.unknown_cost == 1.0
    assert spending.reserve(10, 1) is None and spending.exhausted
    with pytest.raises(JudgeError, match=r"budget of 5 is reached: 3 is spent .* 1 of them .* up to 1 on 1 attempts"):
        spending.raise_if_exhausted()


def test_without_a_budget_all_is_counted() -> None:
    spending = Spending(None, None)
    assert spending.reserve(10**9, 10**9) == 0.0
    spending.count(3, 4)
    spending.raise_if_exhausted()
    assert spending.usage.cost is None and spending.cost(1, 1) is None
    assert (spending.usage.prompt_tokens, spending.usage.completion_tokens) == (3, 4)
    with pytest.raises(ConfigError, match="budget must be above 0, and finite, not 0"):
        Spending((1, 1), 0)


def test_a_prompt_has_no_more_tokens_than_it_is_said_to_have_at_most() -> None:
    assert longest_prompt([{"content": "a" * 100}, {"content": ""}]) == 8 + 50 + 8


def test_what_an_endpoint_counts_beyond_a_prompt_is_set_aside_for_the_next() -> None:
    spending = Spending((1e6, 1e6), 100.0)
    spending.release(spending.reserve(10, 5) or 0.0)
    spending.count(17, 5, expected=(10, 5))
    assert spending.reserve(10, 5) == 22.0
    spending.count(12, 9, expected=(10, 5))
    assert spending.reserve(1, 1) == 8.0 + 5.0
