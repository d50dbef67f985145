"""A judge behind an endpoint that speaks OpenAI's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrlhf.metrics.preference.judging.endpoint import ChatEndpoint
from genrlhf.metrics.preference.judging.prompt_judge import PromptJudge
from genrlhf.metrics.preference.judging.templates import JudgeTemplate, judge_template

__all__ = ["OpenAIJudge"]


class OpenAIJudge(PromptJudge):
    """Asks a model of OpenAI's, or behind any endpoint that speaks its API, which of two outputs is better.

    Args:
        model: what the endpoint calls the model.
        template: what is asked, and how the answer is read; by default `judge_template()`.
        settings: further fields of every request; those that the template needs are there.
        endpoint_options: `base_url`, `api_key`, `store`, `concurrency`, `timeout`, `max_retries`, `prices`, `budget`,
            `progress`: see `ChatEndpoint`.

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
        settings: Mapping[str, Any] | None = None,
        **endpoint_options: Any,
    ) -> None:
        template = template or judge_template()
        self.endpoint = ChatEndpoint(
            model,
            **{
                "max_tokens": template.max_new_tokens,
                "settings": {**template.settings, **(settings or {})},
                **endpoint_options,
            },
        )
        super().__init__(self.endpoint, template)
        # A letter is all there, however the endpoint ended it; the middle of a sentence is no answer to keep.
        self.endpoint.keeps = lambda answer: self._read(("", "", ""), answer).preference is not None
