"""Answers from a server that speaks OpenAI's API: at most once each, within a budget, through all weather."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genrlhf.metrics.preference.judging.adapting import AdaptingOptions
from genrlhf.metrics.preference.judging.answer_store import AnswerStore, ModelAnswer, NoAnswer
from genrlhf.metrics.preference.judging.asking import Asking
from genrlhf.metrics.preference.judging.request_options import RequestOptions, request_options
from genrlhf.metrics.preference.judging.spending import Spending, Usage, longest_prompt
from genrlhf.openai_client.client import OpenAIClient, check_at_least
from genrlhf.openai_client.threads import run_in_thread

__all__ = ["ChatEndpoint"]


class ChatEndpoint:
    """A function from conversations to answers, for a `PromptJudge`.

    Attempts that fail for want of capacity, connection or time, or with an answer that is none, are made again after
    pauses that grow, have a random part, and are as long as the server asks for. What every request would meet (a wrong
    key, no money, no such model or address) ends the run at once. A conversation that is refused, or answered without a
    text, stays unanswered with the reason. A conversation that occurs twice is asked once. With `store`, what was
    answered in an earlier run, or is being answered by another process, is not asked again.

    Args:
        model: what the server calls the model.
        base_url: such as http://localhost:8000/v1; by default `OPENAI_BASE_URL`, or OpenAI's own.
        api_key: by default `OPENAI_API_KEY`, or a placeholder; it is neither stored, printed nor part of an error.
        max_tokens: of an answer; None to leave it to the server.
        settings: further fields of every request, such as `temperature`, `seed` or
            `max_completion_tokens`, which takes the place of `max_tokens`. A field that is None is not sent.
        store: a file for the answers.
        concurrency: requests in flight at a time.
        timeout: seconds that an attempt may take in all.
        max_retries: attempts after the first.
        prices: of a million prompt tokens and of a million completion tokens.
        budget: stop before more than this could be spent in this run, in the unit of the prices. Where the calls in
            flight, as long as they may get, leave too little for another, it waits for them.
        keeps: whether an answer that was cut off is one all the same, and kept in the store; by default none is.
        progress: called after every conversation that is done with.
        report: called with what the requests no longer ask for, or ask for otherwise, because the endpoint refuses it
            or the model turns out to think; by default it is a warning.

    Raises:
        ConfigError: a setting is out of range, a budget without prices, or an address, key or proxy that cannot work.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int | None = 100,
        settings: Mapping[str, Any] | None = None,
        options: RequestOptions | None = None,
        store: AnswerStore | None = None,
        concurrency: int = 16,
        timeout: float = 120.0,
        max_retries: int = 8,
        prices: tuple[float, float] | None = None,
        budget: float | None = None,
        keeps: Callable[[ModelAnswer], bool] | None = None,
        progress: Callable[[], None] | None = None,
        report: Callable[[str], object] | None = None,
    ) -> None:
        check_at_least(concurrency=(concurrency, 1))
        self.model = model
        asked = options or request_options(model, longest_answer=None, settings=settings, max_tokens=max_tokens)
        self.settings = dict(asked.fields)
        self.requests = AdaptingOptions(asked, report or self._warn)
        self.store = store
        self.concurrency = concurrency
        self.keeps = keeps or (lambda answer: False)
        self.progress = progress
        self.client = OpenAIClient(base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries)
        self._spending = Spending(prices, budget)

    @property
    def usage(self) -> Usage:
        """What the calls have taken so far."""
        return self._spending.usage

    @property
    def budget(self) -> float | None:
        """The most that may be spent, all calls so far included; None for no end."""
        return self._spending.budget

    @budget.setter
    def budget(self, budget: float | None) -> None:
        self._spending.set_budget(budget)

    @property
    def exhausted(self) -> bool:
        """Whether a call was not made for want of money."""
        return self._spending.exhausted

    def key(self, conversation: Sequence[Mapping[str, str]]) -> bytes:
        """Return what an answer is kept under."""
        return AnswerStore.key(self.settings, conversation, self.client.address)

    def __call__(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[ModelAnswer | NoAnswer]:
        """Return the answer to every conversation, or why there is none.

        Raises:
            JudgeError: no request can be answered, for want of the key, the model, the address, money or a server, or
                the budget is reached; answers that came before are in the store.
        """
        keys = list(map(self.key, conversations))
        waiting = dict(zip(keys, conversations, strict=True))
        found: dict[bytes, ModelAnswer | NoAnswer] = {}
        if self.store is not None:
            found |= self.store.read(list(waiting))
            self.usage.stored += len(found)
        missing = {key: conversation for key, conversation in waiting.items() if key not in found}
        for _ in range(len(keys) - len(missing)):
            self._report()
        if missing:
            asking = Asking(
                missing,
                self.requests,
                spending=self._spending,
                store=self.store,
                keeps=self.keeps,
                done=self._report,
            )
            found |= run_in_thread(lambda: asking.run(self.client, self.concurrency))
        return [found[key] for key in keys]

    def estimate(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> Usage:
        """Return what asking these would take at most, without asking: every answer as long as it may get.

        Prompt tokens are counted as `longest_prompt` does, which is more than most need.
        """
        keys = {self.key(conversation): conversation for conversation in conversations}
        stored = self.store.read(list(keys)) if self.store is not None else {}
        missing = [conversation for key, conversation in keys.items() if key not in stored]
        prompts = sum(map(longest_prompt, missing))
        completions = len(missing) * self.requests.options.most_tokens
        return Usage(
            answered=len(missing),
            stored=len(stored),
            prompt_tokens=prompts,
            completion_tokens=completions,
            cost=self._spending.cost(prompts, completions),
        )

    def _warn(self, words: str) -> None:
        warnings.warn(f"{self.model}: {words}", stacklevel=2)

    def _report(self) -> None:
        if self.progress is not None:
            self.progress()
