"""A judge behind an endpoint that speaks OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrlhf.metrics.preference.judging.endpoint import ChatEndpoint
from genrlhf.metrics.preference.judging.prompt_judge import PromptJudge
from genrlhf.metrics.preference.judging.request_options import Auto, request_options
from genrlhf.metrics.preference.judging.templates import JudgeTemplate, judge_template

__all__ = ["OpenAIJudge"]


class OpenAIJudge(PromptJudge):
    """Asks a model of OpenAI's, or behind any endpoint that speaks its API, which of two outputs is better.

    Args:
        model: what the endpoint calls the model. OpenAI's reasoning models are known by it, and get
            `max_completion_tokens` in place of `max_tokens`, and no temperature; where an endpoint turns out to want
            that, too, requests are changed accordingly, once and with a word.
        template: what is asked, and how the answer is read; by default `judge_template()`.
        max_tokens: of an answer with all that is thought before it; "auto" for the template's, and
            `THINKING_ROOM` more for a model that is known to think, or turns out to; None to leave it to the endpoint.
        temperature: "auto" for 0, or what the template needs; None to send none.
        reasoning_effort: how long a reasoning model thinks, such as "low"; None to send none.
        extra_body: further fields of every request, in place of all others of these names; None for one that is not to
            be sent.
        settings: the same, where no other argument says otherwise.
        endpoint_options: `base_url`, `api_key`, `store`, `concurrency`, `timeout`, `max_retries`, `prices`, `budget`,
            `progress`, `report`: see `ChatEndpoint`.

    Raises:
        ConfigError: for an option that is out of range.

    Example:
        >>> judge = OpenAIJudge("gpt-4o", judge_template("news"), prices=(2.5, 10.0), budget=5.0)
        >>> judge.endpoint.usage.cost
        0.0
    """

    def __init__(
        self,
        model: str,
        template: JudgeTemplate | None = None,
        *,
        max_tokens: int | Auto | None = "auto",
        temperature: float | Auto | None = "auto",
        reasoning_effort: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        **endpoint_options: Any,
    ) -> None:
        template = template or judge_template()
        options = request_options(
            model,
            longest_answer=template.max_new_tokens,
            needed=template.settings,
            settings=settings,
            extra_body=extra_body,
            max_tokens=max_tokens,
            temperature=temperature,
            reasoning_effort=reasoning_effort,
        )
        self.endpoint = ChatEndpoint(model, options=options, **endpoint_options)
        super().__init__(self.endpoint, template)
        # A letter is all there, however the endpoint ended it; the middle of a sentence is no answer to keep.
        self.endpoint.keeps = lambda answer: self._read(("", "", ""), answer).preference is not None
