"""The answer in what a server sent: data of a stranger."""

from __future__ import annotations

import math
import re
from typing import Any

from genrlhf.errors import excerpt
from genrlhf.metrics.preference.judging.answer_store import ModelAnswer
from genrlhf.metrics.preference.judging.thinking import behind_thinking
from genrlhf.openai_client.failures import RequestError, Scope

__all__ = ["has_message", "read_answer", "thinking_was_cut_off"]

# Providers have words of their own: Mistral's model_length, Google's content_filter: SAFETY, Zhipu's sensitive and
# network_error, DeepSeek's insufficient_system_resource, vLLM's abort.
_CUT = {
    "length": re.compile(r"length|max_?tokens|context_window", re.IGNORECASE),
    "content_filter": re.compile(r"content.?filter|safety|sensitive|prohibited|recitation|refusal", re.IGNORECASE),
    "error": re.compile(r"error|abort|cancel|time_?out|insufficient|repetition", re.IGNORECASE),
}
_WITHOUT_TEXT = {
    "length": "its tokens went into thinking, or are too few; raise max_tokens",
    "content_filter": "a content filter of the endpoint took it",
    "error": "the server failed while it answered",
}


def read_answer(found: dict[str, Any], prompt_tokens: int, completion_tokens: int) -> ModelAnswer:
    """Return the answer in a chat completion.

    Where the model called a function, as it may have been asked to, its arguments are the answer. Content in parts, as
    of models that show their thinking, is the text among them.

    Raises:
        RequestError: there is none; another attempt may help only where there is no message.
    """
    choice = _choice(found)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise RequestError(f"The answer holds no message, but {excerpt(found, 200)}", Scope.ATTEMPT)
    text, end = _text(message), choice.get("finish_reason")
    if not text.strip():
        refused = message.get("refusal")
        if isinstance(refused, str) and refused:
            raise RequestError(f"The model refused to answer: {excerpt(refused, 200)}", Scope.REQUEST)
        # It is on the bill, and another one would be too: the next run may ask again.
        reason = _WITHOUT_TEXT.get(_cut_by(end)) or f"the model ended it at once (finish_reason {excerpt(end)})"
        raise RequestError(f"The answer has no text: {reason}", Scope.REQUEST)
    logprobs = _logprobs(choice.get("logprobs"))
    return ModelAnswer(text, prompt_tokens, completion_tokens, logprobs, ended=not _cut_by(end))


def has_message(found: dict[str, Any]) -> bool:
    """Say whether there is something that a model may have written."""
    return isinstance(_choice(found).get("message"), dict)


def thinking_was_cut_off(found: dict[str, Any]) -> bool:
    """Say whether a model was still thinking when its answer had the tokens that it may have."""
    choice = _choice(found)
    message = choice.get("message")
    if _cut_by(choice.get("finish_reason")) != "length" or not isinstance(message, dict):
        return False
    text = _text(message)
    if text.strip():
        return behind_thinking(text)[0] is None
    usage = found.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    counted = isinstance(details, dict) and details.get("reasoning_tokens")
    # vLLM, SGLang and DeepSeek call it one or the other.
    return bool(counted or message.get("reasoning_content") or message.get("reasoning"))


def _cut_by(end: Any) -> str:
    """Return what cut an answer off, by how it is said to have ended: "length", "content_filter", "error"; or ""."""
    said = end[:100] if isinstance(end, str) else ""
    return next((cause for cause, words in _CUT.items() if words.search(said)), "")


def _choice(found: dict[str, Any]) -> dict[str, Any]:
    choices = found.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def _text(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls and isinstance(calls[0], dict) else {}
    # Servers of the first form of the API call it as that did.
    function = call.get("function") or message.get("function_call")
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        return str(function["arguments"])
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(
            part["text"]
            for part in content
            if isinstance(part, dict)
            and part.get("type") in ("text", "output_text")
            and isinstance(part.get("text"), str)
        )
    return content if isinstance(content, str) else ""


def _logprobs(found: Any) -> list[dict[str, float]] | None:
    """Return the likeliest tokens of every position; the first counts where a server names a token twice."""
    if not isinstance(found, dict):
        return None
    positions = found.get("content")
    if isinstance(positions, list) and positions:
        return [_likeliest(one.get("top_logprobs") if isinstance(one, dict) else None) for one in positions]
    # As OpenAI's completions have them, and servers that made their chat of these: a dictionary a position.
    positions = found.get("top_logprobs")
    if not isinstance(positions, list) or not positions:
        return None
    pairs = [one.items() if isinstance(one, dict) else () for one in positions]
    return [_likeliest([{"token": token, "logprob": logprob} for token, logprob in one]) for one in pairs]


def _likeliest(found: Any) -> dict[str, float]:
    tokens: dict[str, float] = {}
    for one in found if isinstance(found, list) else []:
        token, logprob = (one.get("token"), one.get("logprob")) if isinstance(one, dict) else (None, None)
        if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, (int, float)):
            continue
        try:
            value = min(0.0, float(logprob))
        except OverflowError:
            continue
        if not math.isnan(value):
            tokens.setdefault(token, value)
    return tokens
