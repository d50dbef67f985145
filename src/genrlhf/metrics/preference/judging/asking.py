"""One run of questions to an endpoint: each asked once, several at a time, none that the budget does not allow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genrlhf.errors import JudgeError, excerpt
from genrlhf.metrics.preference.judging.adapting import AdaptingOptions
from genrlhf.metrics.preference.judging.answer_store import AnswerStore, Change, ModelAnswer, NoAnswer
from genrlhf.metrics.preference.judging.reading import has_message, read_answer, thinking_was_cut_off
from genrlhf.metrics.preference.judging.request_options import RequestOptions
from genrlhf.metrics.preference.judging.spending import Spending, counted_tokens, longest_prompt
from genrlhf.metrics.preference.judging.writer import StoreWriter
from genrlhf.openai_client.client import OpenAIClient
from genrlhf.openai_client.failures import RequestError, Scope
from genrlhf.openai_client.session import Session

__all__ = ["Asking"]

_LOOK_AGAIN = 0.5
"""Seconds between two looks at what another process is asking."""


class _BudgetError(Exception):
    """The budget does not allow another attempt."""


class Asking:
    """Asks conversations under their keys.

    Args:
        conversations: to ask.
        requests: the fields of every request.
        spending: counts, and has the budget.
        store: for the answers, None for none.
        keeps: whether an answer that was cut off is one to keep.
        done: called for every conversation that is done with.
    """

    def __init__(
        self,
        conversations: Mapping[bytes, Sequence[Mapping[str, str]]],
        requests: AdaptingOptions,
        *,
        spending: Spending,
        store: AnswerStore | None,
        keeps: Callable[[ModelAnswer], bool],
        done: Callable[[], None],
    ) -> None:
        self._conversations = conversations
        self._requests = requests
        self._spending = spending
        self._store = store
        self._keeps = keeps
        self._done = done
        self._answers: dict[bytes, ModelAnswer | NoAnswer] = {}
        self._pending = deque(conversations)
        self._ready: deque[bytes] = deque()
        self._elsewhere: deque[bytes] = deque()

    async def run(self, client: OpenAIClient, concurrency: int) -> dict[bytes, ModelAnswer | NoAnswer]:
        """Ask, and return an answer, or why there is none, for every key.

        Raises:
            JudgeError: every request would fail, or the budget is reached. Answers that came before are in the store.
        """
        self._writer = StoreWriter(self._store)
        self._claiming = asyncio.Lock()
        self._freed = asyncio.Event()
        self._at_once = concurrency
        async with client.session(known_good=self._spending.usage.stored > 0) as session:
            workers = [asyncio.create_task(self._work(session)) for _ in range(min(concurrency, len(self._pending)))]
            tasks = [*workers, asyncio.create_task(self._renew())]
            try:
                await asyncio.gather(*workers)
            except RequestError as failure:
                raise JudgeError(f"{failure}.") from None
            finally:
                # What one of them raises ends all; those in flight are given up.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.gather(*(self._writer.write(Change(key)) for key in self._ready))
                await self._writer.close()
            self._spending.raise_if_exhausted()
            if (refusal := session.refusal_of_all) is not None:
                raise JudgeError(f"{refusal}.")
        return self._answers

    async def _work(self, session: Session) -> None:
        while (key := await self._next()) is not None:
            try:
                found = await self._ask(session, key)
            except _BudgetError:
                await self._writer.write(Change(key))
                return
            except BaseException:
                await self._writer.write(Change(key))
                raise
            self._answers[key] = found
            self._done()

    async def _next(self) -> bytes | None:
        """Return what to ask next, None where nothing is left."""
        async with self._claiming:
            while not self._ready and (self._pending or self._elsewhere) and not self._spending.exhausted:
                if not self._pending:
                    await asyncio.sleep(_LOOK_AGAIN)
                waiting = self._pending or self._elsewhere
                await self._claim([waiting.popleft() for _ in range(min(self._at_once, len(waiting)))])
            return self._ready.popleft() if self._ready and not self._spending.exhausted else None

    async def _claim(self, keys: list[bytes]) -> None:
        if self._store is None:
            self._ready.extend(keys)
            return
        found, ours = await asyncio.to_thread(self._store.claim, keys)
        self._ready.extend(ours)
        for key, answer in found.items():
            self._answers[key] = answer
            self._spending.usage.stored += 1
            self._done()
        self._elsewhere.extend(key for key in keys if key not in {*found, *ours})

    async def _renew(self) -> None:
        while self._store is not None:
            await asyncio.sleep(await asyncio.to_thread(self._store.renew))

    async def _ask(self, session: Session, key: bytes) -> ModelAnswer | NoAnswer:
        usage = self._spending.usage
        try:
            answer = await session.ask(lambda: self._attempt(session, key))
        except RequestError as failure:
            usage.last_error = excerpt(str(failure), 300)
            if failure.scope is Scope.RUN:
                raise
            usage.failed += 1
            usage.refused += not failure.given_up
            await self._writer.write(Change(key))
            return NoAnswer(str(failure))
        usage.answered += 1
        return answer

    async def _attempt(self, session: Session, key: bytes) -> ModelAnswer:
        """Ask once, and again where the endpoint turns out to take other fields than were sent."""
        while True:
            sent = self._requests.options
            try:
                answer = await self._attempt_with(sent, session, key)
            except RequestError as failure:
                if not self._requests.after_refusal(sent, failure, answered=session.answers > 0):
                    raise
            else:
                if answer is not None:
                    return answer

    async def _attempt_with(self, sent: RequestOptions, session: Session, key: bytes) -> ModelAnswer | None:
        """Ask once, and count what that takes, whatever comes; None where an answer has no room for its thinking."""
        conversation = self._conversations[key]
        body = {**sent.fields, "messages": list(map(dict, conversation))}
        most = longest_prompt(conversation), sent.most_tokens
        reserved = await self._reserve(*most)
        try:
            self._spending.usage.attempts += 1
            try:
                found, size = await session.post("chat/completions", body)
            except RequestError as failure:
                if failure.may_be_billed:
                    self._spending.count_unknown(*most)
                raise
            except asyncio.CancelledError:
                if not session.dead:
                    self._spending.count_unknown(*most)
                raise
            tokens = self._count(found, body, size, most)
        finally:
            self._spending.release(reserved)
            self._wake()
        if thinking_was_cut_off(found) and self._requests.after_thinking(sent):
            await self._bill(key, tokens)
            return None
        try:
            answer = read_answer(found, *(tokens or (0, 0)))
        except RequestError:
            await self._bill(key, tokens)
            raise
        if answer.ended or self._keeps(answer):
            await self._writer.write(Change(key, str(sent.fields["model"]), answer))
        else:
            await self._bill(key, tokens)
        return answer

    def _count(
        self, found: dict[str, Any], body: dict[str, Any], size: int, most: tuple[int, int]
    ) -> tuple[int, int] | None:
        """Count and return the tokens of what came, the most that it can have where the endpoint does not count.

        Something that has neither a count nor a message may have been billed or not: None.
        """
        counted = counted_tokens(found.get("usage"), body, most[1], size)
        if counted is None and not has_message(found):
            self._spending.count_unknown(*most)
            return None
        self._spending.count(*(counted or most), expected=most, estimated=counted is None)
        return counted or most

    async def _bill(self, key: bytes, tokens: tuple[int, int] | None) -> None:
        if tokens is not None:
            await self._writer.write(Change(key, bill=tokens, release=False))

    async def _reserve(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Set aside what an attempt may cost, as soon as those in flight leave enough."""
        while (reserved := self._spending.reserve(prompt_tokens, completion_tokens)) is None:
            if self._spending.exhausted:
                self._wake()
                raise _BudgetError
            await self._freed.wait()
        return reserved

    def _wake(self) -> None:
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()
