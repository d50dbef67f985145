"""A `Sampler` over any server that speaks OpenAI's API, such as those of vLLM, SGLang and transformers."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from genrlhf.data.chat import ChatPrompt, Prompt
from genrlhf.errors import ConfigError, DataError, GenRLHFError, ModelError, excerpt
from genrlhf.openai_client.client import OpenAIClient, check_at_least
from genrlhf.openai_client.failures import RequestError, Scope
from genrlhf.openai_client.session import Session
from genrlhf.sampling.choose import sample_seeds
from genrlhf.sampling.server_answers import Completion, read_completion
from genrlhf.types import Sample, Sampler, SamplingParams

__all__ = ["ServerSampler"]

logger = logging.getLogger(__name__)

_LARGEST_ANSWER = 16 * 2**20
_ENOUGH_WITHOUT_TEXT = 8
"""Samples after which it is no accident that all of them were thoughts alone."""
_Job = tuple[int, int, int]
_Result = tuple[int, list[Sample], asyncio.Event]


class ServerSampler(Sampler):
    """Draws completions from a server, one request a sample, several at a time.

    A prompt that is text goes to `/completions`, a list of messages to `/chat/completions`, where the server applies
    the chat template; `tools` are sent with `tool_choice="none"`, and other arguments of the template as
    `chat_template_kwargs`, which vLLM and SGLang know. `max_new_tokens` is sent as `max_tokens`; `temperature`,
    `top_p`, `seed` and `stop` keep their names; `top_k`, `min_p`, `repetition_penalty` and `min_tokens` are sent by the
    names that vLLM documents and SGLang shares, and only where they are switched on.

    What a server makes of it is its own affair:

    - vLLM and SGLang fill what a request leaves out from the model's `generation_config.json`, top-k for instance.
      For the model's own distribution start them with `--generation-config vllm` and `--sampling-defaults openai`, or
      give `extra_body={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}`.
    - `transformers serve` decodes greedily unless the model's generation config says otherwise; give
      `extra_body={"generation_config": '{"do_sample": true, "top_k": 0}'}`. It refuses the four fields above, returns
      no log-probabilities, and seeds the whole process, so that only `concurrency=1` reproduces samples.
    - Log-probabilities follow the server's rules: vLLM's are taken before temperature, penalties and filters, unless
      it was started with `--logprobs-mode processed_logprobs`, and then after all of them.

    Args:
        model: what the server calls the model.
        base_url: of the API, with most servers ending in `/v1`.
        api_key: sent to the server; by default the environment variable `OPENAI_API_KEY`, or else a placeholder.
        concurrency: requests in flight at a time.
        timeout: seconds that one attempt at a request may take in all.
        max_retries: further attempts, with growing pauses, after a lost connection, a time-out, an answer 408, 409,
            429 or 5xx, or one that is none.
        extra_body: further fields of every request; those that come from `SamplingParams` win.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str | None = None,
        concurrency: int = 32,
        timeout: float = 600.0,
        max_retries: int = 5,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        check_at_least(concurrency=(concurrency, 1))
        self.model = model
        self.concurrency = concurrency
        self.extra_body = dict(extra_body or {})
        self._client = OpenAIClient(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            largest_answer=_LARGEST_ANSWER,
        )

    def stream(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        seed: int,
        *,
        rows: Sequence[int] | None = None,
        done: Container[int] = (),
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place in prompts, its n samples)` as prompts are complete.

        Each request carries its own seed, which depends on `seed`, the prompt's row and the sample's number alone;
        whether the server then draws the same is up to the server. Places in `done` are left out. Requests run in a
        thread of their own; closing the iterator cancels those in flight. The next request is sent once the samples of
        the prompt before it have been taken and the iterator asked for more, so that who writes each down when it comes
        has, when killed, lost what was in flight and nothing else: at most `concurrency` requests.

        `num_tokens` is what the server counts as completion tokens or, where it counts none, the number of its
        log-probabilities; some servers give none for EOS. A text that still holds a stop string is cut there, except
        with `min_new_tokens`, where only the server knows which of them counts.

        Raises:
            ConfigError: `n` is below 1.
            DataError: a prompt is too long for the model's context.
            ModelError: the server cannot be reached, refuses a request, or leaves out what was asked for.
        """
        if n < 1:
            raise ConfigError(f"n, the samples of a prompt, must be at least 1, not {n}.")
        thoughts = _Thoughts()
        rows = range(len(prompts)) if rows is None else rows
        jobs = (
            (place, number, chosen % 2**31)  # some servers read 32-bit seeds
            for place in range(len(prompts))
            if place not in done
            for number, chosen in enumerate(sample_seeds(seed, [rows[place]], n))
        )
        results: queue.SimpleQueue[_Result | BaseException | None] = queue.SimpleQueue()

        async def ask(session: Session, job: _Job) -> Sample:
            place, _, chosen = job
            where = f"prompts, row {rows[place]}: the prompt {excerpt(prompts[place])}"
            return await self._ask(session, prompts[place], params, chosen, where, thoughts)

        # A thread, because a caller in a notebook is inside a running event loop.
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._answer_all(jobs, n, ask, results))

        def work() -> None:
            try:
                loop.run_until_complete(task)
            except BaseException as error:
                results.put(error)
            else:
                results.put(None)
            finally:
                loop.run_until_complete(loop.shutdown_asyncgens())

        thread = threading.Thread(target=work, name="ServerSampler", daemon=True)
        thread.start()
        try:
            while (result := results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                place, samples, taken = result
                yield place, samples
                loop.call_soon_threadsafe(taken.set)
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
            loop.close()
            thoughts.warn()

    async def _answer_all(
        self,
        jobs: Iterator[_Job],
        n: int,
        ask: Callable[[Session, _Job], Any],
        results: queue.SimpleQueue[_Result | BaseException | None],
    ) -> None:
        """Send the jobs in their order, `concurrency` at a time, and hand on the samples of every complete prompt."""
        open_prompts: dict[int, dict[int, Sample]] = {}

        async def work(session: Session) -> None:
            for job in jobs:
                place, number, _ = job
                samples = open_prompts.setdefault(place, {})
                samples[number] = await ask(session, job)
                if len(samples) == n:
                    del open_prompts[place]
                    taken = asyncio.Event()
                    results.put((place, [samples[k] for k in range(n)], taken))
                    await taken.wait()

        async with self._client.session() as session:
            workers = [asyncio.ensure_future(work(session)) for _ in range(self.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(
        self, session: Session, prompt: Any, params: SamplingParams, seed: int, where: str, thoughts: _Thoughts
    ) -> Sample:
        chat = not isinstance(prompt, str)
        fields = self._fields(params, seed)
        if params.logprobs:
            fields["logprobs"] = True if chat else 1
        if isinstance(prompt, ChatPrompt):
            options = dict(prompt.options)
            if "tools" in options:
                fields["tools"] = options.pop("tools")
                fields["tool_choice"] = "none"  # the template shows them; what comes is the model's own text
            if options:
                fields["chat_template_kwargs"] = options
            prompt = prompt.messages
        path, name = ("chat/completions", "messages") if chat else ("completions", "prompt")

        async def attempt() -> Completion:
            found, _ = await session.post(path, {**fields, name: prompt})
            return read_completion(found, chat=chat, where=self._client.address)

        try:
            found = await session.ask(attempt)
        except RequestError as failure:
            raise self._explain(failure, where) from None
        thoughts.note(found, where)
        return self._sample(found, params, where)

    def _fields(self, params: SamplingParams, seed: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "model": self.model,
            "max_tokens": params.max_new_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": seed,
        }
        if params.stop:
            fields["stop"] = list(params.stop) if len(params.stop) > 1 else params.stop[0]
        switched_on = {
            "top_k": (params.top_k, params.top_k > 0),
            "min_p": (params.min_p, params.min_p > 0),
            "repetition_penalty": (params.repetition_penalty, params.repetition_penalty != 1),
            "min_tokens": (params.min_new_tokens, params.min_new_tokens > 0),
        }
        fields |= {name: value for name, (value, on) in switched_on.items() if on}
        return {**self.extra_body, **fields}

    def _sample(self, found: Completion, params: SamplingParams, where: str) -> Sample:
        finish_reason, server = found.finish_reason, self._client.address
        if finish_reason not in ("stop", "length"):
            raise ModelError(
                f"{where}: {server} ended the completion with finish_reason {excerpt(finish_reason)}, and "
                "samples can only end with 'stop' or 'length'; switch off what ends it on the server (filters, tools), "
                "or drop the prompt."
            )
        if params.logprobs and found.logprobs is None:
            raise ModelError(
                f"{where}: {server} returned no log-probabilities; set logprobs=False, or use a server that "
                "returns them, such as vLLM."
            )
        count = found.num_tokens
        if count is None and found.logprobs is not None:
            count = len(found.logprobs)
        if count is None:
            raise ModelError(
                f"{where}: {server} returned no usage.completion_tokens; set logprobs=True to count tokens by "
                "their log-probabilities, or use a server that counts them."
            )
        text = found.text
        cuts = [place for stop in params.stop if (place := text.find(stop)) >= 0]
        if cuts and params.min_new_tokens == 0:
            text, finish_reason = text[: min(cuts)], "stop"
        return Sample(text, finish_reason, count, found.logprobs if params.logprobs else None)

    def _explain(self, failure: RequestError, where: str) -> GenRLHFError:
        said = f"{where}: {failure}"
        if failure.too_long:
            return DataError(
                f"{said}. Shorten or drop the prompt, lower max_new_tokens, or serve the model with a longer context."
            )
        if failure.unreachable:
            return ModelError(f"{said}; check base_url and that the server is running.")
        if failure.status is None and failure.timed_out:
            return ModelError(f"{said}; raise timeout, or lower concurrency or max_new_tokens.")
        if failure.status in (400, 422):
            return ModelError(
                f"{said}. If the server does not know one of the fields sent, switch off the sampling parameter it "
                "belongs to."
            )
        if failure.scope is not Scope.RUN and failure.status is not None:
            return ModelError(f"{said}. Lower concurrency or raise max_retries, and look at the server's log.")
        return ModelError(f"{said}.")


class _Thoughts:
    """Counts samples without a text because all of their tokens went into thinking."""

    def __init__(self) -> None:
        self.drawn = 0
        self.empty = 0

    def note(self, found: Completion, where: str) -> None:
        """Add a sample, or raise `ModelError` where none of the first ones has a text."""
        self.drawn += 1
        self.empty += found.only_thought
        if self.empty == self.drawn == _ENOUGH_WITHOUT_TEXT:
            raise ModelError(
                f"{where}: all of the first {self.drawn} samples are empty, for the model spent their tokens on "
                "thinking; raise max_new_tokens, or switch thinking off, with vLLM and SGLang by "
                'extra_body={"chat_template_kwargs": {"enable_thinking": false}}.'
            )

    def warn(self) -> None:
        """Say how many there were."""
        if self.empty:
            logger.warning(
                "%d of %d samples are empty, for the model spent their tokens on thinking; raise max_new_tokens, or "
                "switch thinking off.",
                self.empty,
                self.drawn,
            )
