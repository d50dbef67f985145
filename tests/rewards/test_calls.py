"""Calling what a user wrote: synchronous or not, from wherever, and what comes of its errors."""

from __future__ import annotations

import asyncio
import copy
import functools
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from genrlhf.errors import DataError, RewardError
from genrlhf.rewards import WeightedReward, load_reward
from genrlhf.rewards.calls import CallableReward

PROMPTS, COMPLETIONS = ["p", "q"], ["ab", "c"]


async def async_length(prompts: list[str], completions: list[str], *, bonus: Any = (0.0, 0.0), **_: Any) -> list[float]:
    await asyncio.sleep(0)
    return [len(text) + extra for text, extra in zip(completions, bonus, strict=True)]


def length(prompts: list[str], completions: list[str], *, bonus: Any = (0.0, 0.0), **_: Any) -> list[float]:
    return [len(text) + extra for text, extra in zip(completions, bonus, strict=True)]


class AsyncObject:
    async def __call__(self, prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        return await async_length(prompts, completions, **columns)


class Awaitable:
    """Awaitable, but no coroutine."""

    def __await__(self) -> Any:
        return async_length(PROMPTS, COMPLETIONS, bonus=[1.0, -1.0]).__await__()


@pytest.mark.parametrize(
    "reward",
    [
        length,
        async_length,
        AsyncObject(),
        functools.partial(async_length, unused=1),
        lambda prompts, completions, **columns: async_length(prompts, completions, **columns),
        lambda prompts, completions, **columns: Awaitable(),
    ],
    ids=["def", "async def", "object", "partial", "lambda", "awaitable"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_callables_of_every_kind_in_and_out_of_a_running_loop(reward: Any, weighted: bool) -> None:
    loaded = load_reward([(reward, 1.0)] if weighted else reward)
    assert loaded(PROMPTS, COMPLETIONS, bonus=[1.0, -1.0]) == [3.0, 0.0]

    async def notebook() -> Any:
        return loaded(PROMPTS, COMPLETIONS, bonus=[1.0, -1.0])

    assert asyncio.run(notebook()) == [3.0, 0.0]


def test_name_and_attributes_are_those_of_the_callable() -> None:
    class Named:
        name = "politeness"
        model = "anything"

        def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
            return []

    assert load_reward(length).name == "length"  # type: ignore[attr-defined]
    reward = copy.deepcopy(load_reward(Named()))
    assert (reward.name, reward.model) == ("politeness", "anything")  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no_such"):
        reward.no_such  # type: ignore[attr-defined]  # noqa: B018


def test_all_calls_share_one_loop_in_a_thread_so_that_clients_can_be_kept() -> None:
    places = []

    async def where(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        places.append((asyncio.get_running_loop(), threading.current_thread()))
        return [0.0]

    for reward in (load_reward(where), load_reward(where), load_reward([(where, 1.0)])):
        reward(["p"], ["c"])
    assert len(set(places)) == 1
    assert places[0][1] is not threading.current_thread()


def test_synchronous_callables_stay_in_the_thread_of_the_caller() -> None:
    def here(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return [float(threading.current_thread() is threading.main_thread())] * len(completions)

    assert load_reward([(async_length, 0.0), (here, 1.0)])(PROMPTS, COMPLETIONS) == [1.0, 1.0]


def meet(mine: asyncio.Event, other: asyncio.Event) -> Any:
    """A reward that waits until another has begun, and fails if it never does."""

    async def reward(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        mine.set()
        await asyncio.wait_for(other.wait(), 5)
        return [1.0] * len(completions)

    return reward


@pytest.mark.parametrize("nested", [False, True])
def test_asynchronous_terms_run_at_the_same_time(nested: bool) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    a, b = meet(first, second), meet(second, first)
    reward = load_reward([([(a, 2.0)], 5.0), ([(b, 1.0)], 1.0)] if nested else [(a, 10.0), (b, 1.0)])
    assert reward(PROMPTS, COMPLETIONS) == [11.0, 11.0]


def test_an_asynchronous_term_runs_beside_a_synchronous_one_behind_it() -> None:
    begun = threading.Event()

    async def first(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        begun.set()
        return [0.0]

    def second(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return [float(begun.wait(5))]

    assert load_reward([(first, 1.0), (second, 1.0)])(["p"], ["c"]) == [1.0]


def raising(error: BaseException, asynchronous: bool) -> Any:
    def broken(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        raise error

    async def async_broken(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        await asyncio.sleep(0)
        raise error

    return async_broken if asynchronous else broken


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_name_the_reward_and_keep_their_cause(asynchronous: bool, weighted: bool) -> None:
    cause = ZeroDivisionError("division by zero")
    broken = raising(cause, asynchronous)
    reward = load_reward([(length, 1.0), (async_length, 1.0), (broken, 1.0)] if weighted else broken)
    name = "async_broken" if asynchronous else "broken"
    with pytest.raises(
        RewardError,
        match=rf"^The reward {name}, asked for the rewards of 2 completions, raised ZeroDivisionError\('division by "
        r"zero'\) \(test_calls\.py, line \d+\);",
    ) as caught:
        reward(PROMPTS, COMPLETIONS)
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "error", [DataError("ours"), RewardError("ours, too"), KeyboardInterrupt(), SystemExit(3)], ids=repr
)
@pytest.mark.parametrize("weighted", [False, True])
def test_our_errors_and_interrupts_pass(error: BaseException, asynchronous: bool, weighted: bool) -> None:
    broken = raising(error, asynchronous)
    with pytest.raises(type(error)) as caught:
        load_reward([(broken, 1.0)] if weighted else broken)(PROMPTS, COMPLETIONS)
    assert caught.value is error
    assert load_reward(async_length)(PROMPTS, COMPLETIONS) == [2.0, 1.0]


def test_long_errors_are_cut() -> None:
    with pytest.raises(RewardError) as caught:
        load_reward(raising(ValueError("x\n" * 5000), False))(PROMPTS, COMPLETIONS)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def sleeper() -> tuple[Any, threading.Event, threading.Event]:
    begun, cancelled = threading.Event(), threading.Event()

    async def sleep(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return [0.0]

    return sleep, begun, cancelled


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_where_one_term_fails_the_others_are_cancelled_at_once(asynchronous: bool, order: int) -> None:
    sleep, begun, cancelled = sleeper()

    def broken(prompts: Any, completions: Any, **columns: Any) -> Any:
        return raising(ValueError("no"), True)(prompts, completions) if asynchronous else raising_later()

    def raising_later() -> None:
        begun.wait(0.2)
        raise ValueError("no")

    with warnings.catch_warnings(), pytest.raises(RewardError, match="The reward broken"):
        warnings.simplefilter("error")
        load_reward([(sleep, 1.0), (broken, 1.0)][::order])(["p"], ["c"])
    assert not begun.is_set() or cancelled.wait(5)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="sends the signal that Ctrl-C sends")
def test_ctrl_c_ends_the_wait_and_cancels_the_reward() -> None:
    sleep, _, cancelled = sleeper()

    async def interrupted(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        await asyncio.sleep(0.2)  # by then the caller waits
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]
        return await sleep(prompts, completions)

    with pytest.raises(KeyboardInterrupt):
        load_reward(interrupted)(PROMPTS, COMPLETIONS)
    assert cancelled.wait(5)


@pytest.mark.filterwarnings("error")
def test_a_reward_that_would_wait_for_itself_is_refused() -> None:
    inner = load_reward(async_length)

    async def outer(prompts: Any, completions: Any, **columns: Any) -> Any:
        return inner(prompts, completions)

    with pytest.raises(RewardError, match="The reward async_length was called by another asynchronous reward"):
        load_reward(outer)(PROMPTS, COMPLETIONS)


def _in_fork(check: Callable[[], bool]) -> int:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_works_in_a_forked_process_too() -> None:
    reward = load_reward(async_length)
    assert reward(PROMPTS, COMPLETIONS) == [2.0, 1.0]
    assert _in_fork(lambda: reward(PROMPTS, COMPLETIONS) == [2.0, 1.0]) == 0


def test_callables_are_wrapped_once() -> None:
    loaded = load_reward(length)
    assert isinstance(loaded, CallableReward)
    assert load_reward(loaded) is loaded
    assert WeightedReward([loaded], [1.0]).rewards[0] is loaded
