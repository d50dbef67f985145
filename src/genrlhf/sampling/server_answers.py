"""Completions in what a server sent: data of a stranger."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from genrlhf.openai_client.failures import RequestError, Scope

__all__ = ["Completion", "read_completion"]


@dataclass(frozen=True)
class Completion:
    """One completion.

    Attributes:
        text: without what the model thought, where the server keeps that apart.
        finish_reason: why it ended, whatever the server calls it.
        num_tokens: that the server counted, None where it did not.
        logprobs: of the tokens; None where there are none, or not of all.
        only_thought: whether there is no text because all tokens went into thinking.
    """

    text: str
    finish_reason: Any
    num_tokens: int | None
    logprobs: list[float] | None
    only_thought: bool


def read_completion(found: dict[str, Any], *, chat: bool, where: str) -> Completion:
    """Return the first completion of an answer.

    Raises:
        RequestError: there is none.
    """
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message") if chat else choice
    if not isinstance(message, dict) or not message:
        raise RequestError(
            f"{where} answered without a completion; check that base_url is that of an OpenAI-compatible API, which "
            "often ends in /v1",
            Scope.ATTEMPT,
        )
    text = message.get("content" if chat else "text")
    text = text if isinstance(text, str) else ""
    usage = found.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    counted = isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**31
    thought = any(message.get(name) for name in ("reasoning_content", "reasoning"))
    return Completion(
        text,
        choice.get("finish_reason"),
        count if counted else None,
        _logprobs(choice.get("logprobs"), chat=chat),
        only_thought=not text and (thought or choice.get("finish_reason") == "length"),
    )


def _logprobs(found: Any, *, chat: bool) -> list[float] | None:
    """Return the log-probabilities of a choice, None if there are none."""
    entries = found.get("content" if chat else "token_logprobs") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        return None
    values = [entry.get("logprob") if isinstance(entry, dict) else None for entry in entries] if chat else entries
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return None
    logprobs = [_as_float(value) for value in values]
    return None if any(math.isnan(value) for value in logprobs) else logprobs


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.nan
