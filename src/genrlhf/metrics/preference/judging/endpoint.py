"""Answers from a server that speaks OpenAI's API: at most once each, within a budget, through all weather."""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import openai
from openai import AsyncOpenAI

from genrlhf.errors import ConfigError, JudgeError, excerpt
from genrlhf.metrics.preference.judging.answer_store import AnswerStore, ModelAnswer
from genrlhf.metrics.preference.judging.spending import Spending, Usage, longest_prompt

__all__ = ["ChatEndpoint"]

_NO_KEY = "none"
_LONGEST_PAUSE = 60.0


class ChatEndpoint:
    """A function from conversations to answers, for a `PromptJudge`.

    Attempts that fail for want of capacity, connection or time, or with an answer that is none, are made again after
    pauses that grow, have a random part, and are as long as the server asks for. A conversation that occurs twice is
    asked once. With `store`, what was answered in an earlier run is not asked again.

    Args:
        model: what the server calls the model.
        base_url: such as http://localhost:8000/v1; by default `OPENAI_BASE_URL`, or OpenAI's own.
        api_key: by default `OPENAI_API_KEY`, or a placeholder; it is neither stored, printed nor part of an error.
        max_tokens: of an answer.
        settings: further fields of every request, such as `temperature`, 0 by default, or `seed`.
        store: a file for the answers.
        concurrency: requests in flight at a time.
        timeout: seconds that an attempt may take.
        max_retries: attempts after the first.
        prices: of a million prompt tokens and of a million completion tokens.
        budget: stop before more than this could be spent in this run, counting every call in flight as long as it may
            get; in the unit of the prices.
        progress: called after every conversation that is done with.

    Raises:
        ConfigError: a setting is out of range, or a budget without prices.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int = 100,
        settings: Mapping[str, Any] | None = None,
        store: AnswerStore | None = None,
        concurrency: int = 16,
        timeout: float = 120.0,
        max_retries: int = 8,
        prices: tuple[float, float] | None = None,
        budget: float | None = None,
        progress: Callable[[], None] | None = None,
    ) -> None:
        for name, value, good, wanted in (
            ("concurrency", concurrency, concurrency >= 1, "at least 1"),
            ("timeout", timeout, timeout > 0, "above 0"),
            ("max_retries", max_retries, max_retries >= 0, "0 or more"),
        ):
            if not good:
                raise ConfigError(f"{name} must be {wanted}, not {value}.")
        self.model = model
        self.settings = {"model": model, "max_tokens": max_tokens, "temperature": 0, **(settings or {})}
        self.store = store
        self.concurrency = concurrency
        self.max_retries = max_retries
        self.progress = progress
        self._spending = Spending(prices, budget)
        url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        self._where = re.sub(r"//[^/@]*@", "//", url)
        key = api_key or os.environ.get("OPENAI_API_KEY") or _NO_KEY

        # A client belongs to one event loop. No attribute holds the key, so that none is dumped with the endpoint.
        def client() -> AsyncOpenAI:
            patience = openai.Timeout(timeout, connect=min(timeout, 30.0))
            return AsyncOpenAI(base_url=url, api_key=key, timeout=patience, max_retries=0)

        def redact(text: str) -> str:
            return text if key == _NO_KEY else text.replace(key, "[key]")

        self._client: Callable[[], AsyncOpenAI] = client
        self._redact: Callable[[str], str] = redact

    @property
    def usage(self) -> Usage:
        """What the calls have taken so far."""
        return self._spending.usage

    def __call__(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[ModelAnswer | None]:
        """Return the answer to every conversation, None where all attempts failed.

        Raises:
            JudgeError: the server refuses the key, the model or the requests, or the budget is reached; answers that
                came before are in the store.
        """
        keys = [AnswerStore.key(self.settings, conversation) for conversation in conversations]
        waiting = dict(zip(keys, conversations, strict=True))
        found: dict[bytes, ModelAnswer] = {}
        if self.store is not None:
            found = self.store.read(list(waiting))
            self.usage.stored += len(found)
        missing = {key: conversation for key, conversation in waiting.items() if key not in found}
        self._report(len(keys) - len(missing))
        if missing:
            found |= self._run(missing)
        return [found.get(key) for key in keys]

    def estimate(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> Usage:
        """Return what asking these would take at most, without asking: every answer as long as it may get.

        Prompt tokens are counted as one for every two characters, which is more than most languages need.
        """
        keys = {AnswerStore.key(self.settings, conversation): conversation for conversation in conversations}
        stored = self.store.read(list(keys)) if self.store is not None else {}
        missing = [conversation for key, conversation in keys.items() if key not in stored]
        prompts = sum(map(longest_prompt, missing))
        completions = len(missing) * int(self.settings["max_tokens"])
        return Usage(
            answered=len(missing),
            stored=len(stored),
            prompt_tokens=prompts,
            completion_tokens=completions,
            cost=self._spending.cost(prompts, completions),
        )

    def _run(self, missing: dict[bytes, Sequence[Mapping[str, str]]]) -> dict[bytes, ModelAnswer]:
        """Ask in a thread with an event loop of its own, because a caller in a notebook is inside a running one."""
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.append(asyncio.run(self._ask_all(missing)))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        answers: dict[bytes, ModelAnswer] = outcome[0]
        return answers

    async def _ask_all(self, missing: dict[bytes, Sequence[Mapping[str, str]]]) -> dict[bytes, ModelAnswer]:
        answers: dict[bytes, ModelAnswer] = {}
        jobs = iter(missing.items())
        async with self._client() as client:

            async def worker() -> None:
                for key, conversation in jobs:
                    reserved = self._spending.reserve(longest_prompt(conversation), int(self.settings["max_tokens"]))
                    if self._spending.exhausted:
                        return
                    try:
                        answer = await self._ask(client, key, conversation)
                    finally:
                        self._spending.release(reserved)
                    if answer is not None:
                        answers[key] = answer
                    self._report(1)

            tasks = [asyncio.create_task(worker()) for _ in range(min(self.concurrency, len(missing)))]
            try:
                await asyncio.gather(*tasks)
            finally:
                # What one of them raises ends all; those in flight are given up.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        self._spending.raise_if_exhausted()
        return answers

    async def _ask(
        self, client: AsyncOpenAI, key: bytes, conversation: Sequence[Mapping[str, str]]
    ) -> ModelAnswer | None:
        for attempt in range(self.max_retries + 1):
            self.usage.attempts += 1
            try:
                messages: Any = list(conversation)
                completion = await client.chat.completions.create(messages=messages, **self.settings)
                answer = _read(completion)
            except openai.APIStatusError as error:
                self._refuse_if_final(error)
                await self._pause(attempt, error, error.response.headers.get("retry-after"))
                continue
            except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
                # Lost connections, time-outs, and answers that are no answer.
                await self._pause(attempt, error)
                continue
            if self.store is not None:
                self.store.write(key, self.model, answer)
            self._spending.count(answer.prompt_tokens, answer.completion_tokens)
            return answer
        self.usage.failed += 1
        return None

    def _refuse_if_final(self, error: openai.APIStatusError) -> None:
        """Raise where another attempt would end the same way."""
        if error.status_code in (408, 409, 429) or error.status_code >= 500:
            return
        what = {401: "refuses the key", 403: "refuses the key", 404: f"knows no model {self.model!r}"}.get(
            error.status_code, f"refuses a request (status {error.status_code})"
        )
        raise JudgeError(f"{self._where} {what}: {excerpt(self._redact(str(error.message)), 200)}.")

    async def _pause(self, attempt: int, error: Exception, asked: str | None = None) -> None:
        self.usage.last_error = excerpt(self._redact(str(error)), 200)
        if attempt == self.max_retries:
            return
        pause = min(_LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
        if asked is not None and asked.isdecimal():
            pause = max(pause, min(_LONGEST_PAUSE, float(asked)))
        await asyncio.sleep(pause)

    def _report(self, count: int) -> None:
        if self.progress is not None:
            for _ in range(count):
                self.progress()


def _read(completion: Any) -> ModelAnswer:
    """Return the answer in what a server sent, or raise `ValueError` where there is none.

    Where the model called a function, as it may have been asked to, its arguments are the answer.
    """
    choice = next(iter(getattr(completion, "choices", None) or []), None)
    message = getattr(choice, "message", None)
    text = getattr(message, "content", None)
    calls = getattr(message, "tool_calls", None)
    if calls:
        text = calls[0].function.arguments
    if not isinstance(text, str):
        raise ValueError(f"the answer holds no text: {excerpt(completion)}")
    usage = getattr(completion, "usage", None)
    return ModelAnswer(
        text,
        int(getattr(usage, "prompt_tokens", 0) or 0),
        int(getattr(usage, "completion_tokens", 0) or 0),
        _logprobs(getattr(choice, "logprobs", None)),
    )


def _logprobs(found: Any) -> list[dict[str, float]] | None:
    """Return the likeliest tokens of every position; the first counts where a server names a token twice."""
    positions = getattr(found, "content", None)
    if not positions:
        return None
    return [
        {str(one.token): float(one.logprob) for one in reversed(getattr(position, "top_logprobs", None) or [])}
        for position in positions
    ]
