"""A `Sampler` over any server that speaks OpenAI's API, such as those of vLLM, SGLang and transformers."""

from __future__ import annotations

import asyncio
import os
import queue
import re
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import openai
from openai import AsyncOpenAI

from genrlhf.data.chat import ChatPrompt, Prompt
from genrlhf.errors import ConfigError, DataError, GenRLHFError, ModelError, excerpt
from genrlhf.sampling.choose import sample_seeds
from genrlhf.types import Sample, SamplingParams

__all__ = ["ServerSampler"]

_NO_KEY = "none"
_TOO_LONG = re.compile(r"context.length|maximum context|longer than the model|too long", re.IGNORECASE)
_Job = tuple[int, int, int]
_Result = tuple[int, list[Sample]]


class ServerSampler:
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
        timeout: seconds to wait for the answer to one attempt at a request.
        max_retries: further attempts, with growing pauses, after a lost connection, a time-out or an answer 408, 409,
            429 or 5xx.
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
        for name, value, good, wanted in (
            ("concurrency", concurrency, concurrency >= 1, "at least 1"),
            ("timeout", timeout, timeout > 0, "above 0"),
            ("max_retries", max_retries, max_retries >= 0, "0 or more"),
        ):
            if not good:
                raise ConfigError(f"{name} must be {wanted}, not {value}.")
        self.model = model
        self.concurrency = concurrency
        self.extra_body = dict(extra_body or {})
        self._where = re.sub(r"//[^/@]*@", "//", base_url)
        key = api_key or os.environ.get("OPENAI_API_KEY") or _NO_KEY

        # A client belongs to one event loop. No attribute holds the key, so that none is dumped with the sampler.
        def client() -> AsyncOpenAI:
            patience = openai.Timeout(timeout, connect=min(timeout, 30.0))
            return AsyncOpenAI(base_url=base_url, api_key=key, timeout=patience, max_retries=max_retries)

        def redact(text: str) -> str:
            return text if key == _NO_KEY else text.replace(key, "[key]")

        self._client: Callable[[], AsyncOpenAI] = client
        self._redact: Callable[[str], str] = redact

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams, seed: int) -> list[list[str]]:
        """Return the texts of `n` completions of every prompt, in the order of the prompts."""
        found = sorted(self.stream(prompts, n, params, seed), key=lambda pair: pair[0])
        return [[sample.text for sample in samples] for _, samples in found]

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
        thread of their own; closing the iterator cancels those in flight.

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
        rows = range(len(prompts)) if rows is None else rows
        jobs = (
            (place, number, chosen % 2**31)  # some servers read 32-bit seeds
            for place in range(len(prompts))
            if place not in done
            for number, chosen in enumerate(sample_seeds(seed, [rows[place]], n))
        )
        results: queue.SimpleQueue[_Result | BaseException | None] = queue.SimpleQueue()

        async def ask(client: AsyncOpenAI, job: _Job) -> Sample:
            place, _, chosen = job
            where = f"prompts, row {rows[place]}: the prompt {excerpt(prompts[place])}"
            return await self._ask(client, prompts[place], params, chosen, where)

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
                yield result
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join()
            loop.close()

    async def _answer_all(
        self,
        jobs: Iterator[_Job],
        n: int,
        ask: Callable[[AsyncOpenAI, _Job], Any],
        results: queue.SimpleQueue[_Result | BaseException | None],
    ) -> None:
        """Send the jobs in their order, `concurrency` at a time, and hand on the samples of every complete prompt."""
        open_prompts: dict[int, dict[int, Sample]] = {}

        async def work(client: AsyncOpenAI) -> None:
            for job in jobs:
                place, number, _ = job
                samples = open_prompts.setdefault(place, {})
                samples[number] = await ask(client, job)
                if len(samples) == n:
                    results.put((place, [samples[k] for k in range(n)]))
                    del open_prompts[place]

        async with self._client() as client:
            workers = [asyncio.ensure_future(work(client)) for _ in range(self.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(self, client: AsyncOpenAI, prompt: Any, params: SamplingParams, seed: int, where: str) -> Sample:
        chat = not isinstance(prompt, str)
        fields = self._fields(params, seed, chat=chat)
        if isinstance(prompt, ChatPrompt):
            options = dict(prompt.options)
            if "tools" in options:
                fields["tools"] = options.pop("tools")
                fields["tool_choice"] = "none"  # the template shows them; what comes is the model's own text
            if options:
                fields["extra_body"] = {**fields["extra_body"], "chat_template_kwargs": options}
            prompt = prompt.messages
        answer: Any
        try:
            if chat:
                answer = await client.chat.completions.create(messages=prompt, **fields)
            else:
                answer = await client.completions.create(prompt=prompt, **fields)
        except openai.OpenAIError as error:
            # Without its cause, whose request holds the key and whose text may repeat it.
            raise self._explain(error, where) from None
        return self._read(answer, params, where, chat=chat)

    def _fields(self, params: SamplingParams, seed: int, *, chat: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "model": self.model,
            "max_tokens": params.max_new_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": seed,
        }
        if params.stop:
            fields["stop"] = list(params.stop) if len(params.stop) > 1 else params.stop[0]
        if params.logprobs:
            fields["logprobs"] = True if chat else 1
        switched_on = {
            "top_k": (params.top_k, params.top_k > 0),
            "min_p": (params.min_p, params.min_p > 0),
            "repetition_penalty": (params.repetition_penalty, params.repetition_penalty != 1),
            "min_tokens": (params.min_new_tokens, params.min_new_tokens > 0),
        }
        extra = {name: value for name, value in self.extra_body.items() if name not in fields}
        fields["extra_body"] = extra | {name: value for name, (value, on) in switched_on.items() if on}
        return fields

    def _read(self, answer: Any, params: SamplingParams, where: str, *, chat: bool) -> Sample:
        choices = getattr(answer, "choices", None)
        if not choices:
            raise ModelError(
                f"{where}: {self._where} answered without a completion; check that base_url is that of an "
                "OpenAI-compatible API, which often ends in /v1."
            )
        choice = choices[0]
        finish_reason = choice.finish_reason
        if finish_reason not in ("stop", "length"):
            raise ModelError(
                f"{where}: {self._where} ended the completion with finish_reason {excerpt(finish_reason)}, and "
                "samples can only end with 'stop' or 'length'; switch off what ends it on the server (filters, tools), "
                "or drop the prompt."
            )
        logprobs = _logprobs(choice, chat=chat)
        if params.logprobs and logprobs is None:
            raise ModelError(
                f"{where}: {self._where} returned no log-probabilities; set logprobs=False, or use a server that "
                "returns them, such as vLLM."
            )
        count = getattr(getattr(answer, "usage", None), "completion_tokens", None)
        if count is None and logprobs is not None:
            count = len(logprobs)
        if count is None:
            raise ModelError(
                f"{where}: {self._where} returned no usage.completion_tokens; set logprobs=True to count tokens by "
                "their log-probabilities, or use a server that counts them."
            )
        text = (choice.message.content if chat else choice.text) or ""
        cuts = [place for stop in params.stop if (place := text.find(stop)) >= 0]
        if cuts and params.min_new_tokens == 0:
            text, finish_reason = text[: min(cuts)], "stop"
        return Sample(text, finish_reason, int(count), logprobs if params.logprobs else None)

    def _explain(self, error: openai.OpenAIError, where: str) -> GenRLHFError:
        if isinstance(error, openai.APIStatusError):
            said = self._redact(_said(error))
            answered = f"{where}: {self._where} answered {error.status_code} for the model {self.model!r}"
            if error.status_code in (400, 413, 422) and _TOO_LONG.search(said):
                return DataError(
                    f"{answered}: {excerpt(said, 300)}. Shorten or drop the prompt, lower max_new_tokens, or serve the "
                    "model with a longer context."
                )
            return ModelError(f"{answered}: {excerpt(said, 300)}. {_remedy(error.status_code)}")
        if isinstance(error, openai.APITimeoutError):
            return ModelError(
                f"{where}: {self._where} did not answer in time; raise timeout, or lower concurrency or max_new_tokens."
            )
        cause = self._redact(str(error.__cause__ or error))
        return ModelError(
            f"{where}: {self._where} cannot be reached ({cause}); check base_url and that the server is running."
        )


def _logprobs(choice: Any, *, chat: bool) -> list[float] | None:
    """Return the log-probabilities of a choice, None if there are none."""
    found = getattr(choice, "logprobs", None)
    entries = getattr(found, "content" if chat else "token_logprobs", None)
    if entries is None:
        return None
    values = [entry.logprob for entry in entries] if chat else entries
    return None if any(value is None for value in values) else [float(value) for value in values]


def _said(error: openai.APIStatusError) -> str:
    """Return what the server said: OpenAI calls it message, FastAPI detail."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or body.get("detail") or error.response.text)


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Give the server's api_key."
    if status == 404:
        return "Check base_url, which often ends in /v1, and that the server has this model under this name."
    if status == 422:
        return "The server does not know one of the fields sent; switch off the sampling parameter it belongs to."
    if status == 429 or status >= 500:
        return "Lower concurrency or raise max_retries, and look at the server's log."
    return "Change the setting that the server complains about."
