"""What requests ask for, by the model's name and by what endpoints refuse."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.errors import ConfigError
from genrlhf.metrics.preference.judging.request_options import THINKING_ROOM, RequestOptions, request_options

LOGPROBS = {"logprobs": True, "top_logprobs": 5, "temperature": 1}


def fields(model: str, **options: Any) -> dict[str, Any]:
    found = dict(request_options(model, longest_answer=100, **options).fields)
    assert found.pop("model") == model
    return found


@pytest.mark.parametrize(
    "model",
    ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5.1", "openai/gpt-5-nano", "azure/o3", "O3"],
)
def test_reasoning_models_of_openai_by_name(model: str) -> None:
    assert fields(model) == {"max_completion_tokens": 100 + THINKING_ROOM}
    assert fields(model, needed=LOGPROBS) == {"max_completion_tokens": 100 + THINKING_ROOM}
    assert fields(model, max_tokens=500, reasoning_effort="low") == {
        "max_completion_tokens": 500,
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize(
    "model",
    ["gpt-4o", "gpt-4.1-mini", "gpt-4-turbo", "gpt-5-chat-latest", "opus", "olmo-3", "o", "qwen3-4b-instruct-2507"],
)
def test_other_models(model: str) -> None:
    assert fields(model) == {"temperature": 0, "max_tokens": 100}
    assert fields(model, needed=LOGPROBS) == {"max_tokens": 100, **LOGPROBS}


@pytest.mark.parametrize(
    "model",
    [
        "Qwen/Qwen3-8B",
        "QwQ-32B",
        "deepseek-reasoner",
        "DeepSeek-R1-Distill-Qwen-7B",
        "gpt-oss-20b",
        "magistral-small",
        "Qwen3-4B-Thinking-2507",
    ],
)
def test_open_models_that_think_get_room(model: str) -> None:
    assert fields(model) == {"temperature": 0, "max_tokens": 100 + THINKING_ROOM}


def test_what_is_asked_for_is_sent_and_none_is_not() -> None:
    assert fields("m", max_tokens=None, temperature=None) == {}
    assert fields("m", max_tokens=7, temperature=0.5) == {"max_tokens": 7, "temperature": 0.5}
    assert fields("m", settings={"max_completion_tokens": 9, "temperature": None, "top_k": 3}) == {
        "max_completion_tokens": 9,
        "top_k": 3,
    }
    assert fields("o3", settings={"max_tokens": 9, "temperature": 1}) == {"max_tokens": 9, "temperature": 1}
    # Arguments before settings, and the extra body before all.
    assert fields("m", settings={"max_completion_tokens": 9, "temperature": 1}, max_tokens=5, temperature=None) == {
        "max_tokens": 5
    }
    assert fields("m", extra_body={"temperature": 1, "max_tokens": None}, temperature=0.3) == {"temperature": 1}
    assert request_options("m", longest_answer=None).longest is None
    assert request_options("m", longest_answer=100, reasoning_effort="high").longest == 100 + THINKING_ROOM


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1, not 0"),
        ({"max_tokens": 1.5}, "max_tokens must be"),
        ({"settings": {"max_completion_tokens": True}}, "max_completion_tokens must be"),
        ({"temperature": -1}, "temperature must be 0 or more, or None"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"settings": {"stream": True}}, "must not ask for a stream"),
        ({"extra_body": {"messages": []}}, "must not have messages"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        request_options("m", longest_answer=100, **options)


def after(said: str, status: int = 400, **options: Any) -> dict[str, Any] | None:
    """What is sent after refusals with this message, until there are no more changes."""
    found: RequestOptions = request_options("m", longest_answer=100, **options)
    changed = found.without_refused(status, said)
    if changed is None:
        return None
    assert changed[1]
    return {key: value for key, value in changed[0].fields.items() if key != "model"}


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "Unsupported parameter: use max_completion_tokens",
        "this model is not supported MaxTokens using this model, please use MaxCompletionTokens instead",
    ],
)
def test_a_reasoning_model_behind_any_name(said: str) -> None:
    assert after(said) == {"max_completion_tokens": 100 + THINKING_ROOM}
    assert after(said, needed=LOGPROBS) == {"max_completion_tokens": 100 + THINKING_ROOM}
    assert after(said, max_tokens=500, temperature=1) == {"max_completion_tokens": 500, "temperature": 1}


@pytest.mark.parametrize(
    ("said", "status", "gone"),
    [
        (
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is supported.",
            400,
            {"temperature"},
        ),
        ("`temperature` is deprecated for this model.", 400, {"temperature"}),
        ("You are not allowed to request logprobs from this model.", 403, {"logprobs", "top_logprobs"}),
        (
            "[{'type': 'extra_forbidden', 'loc': ['body', 'top_logprobs'], 'msg': 'Extra inputs are not permitted'}]",
            422,
            {"logprobs", "top_logprobs"},
        ),
        (
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
            400,
            {"response_format"},
        ),
        ("This response_format type is unavailable now", 400, {"response_format"}),
    ],
)
def test_fields_that_nobody_asked_for_go_where_they_are_refused(said: str, status: int, gone: set[str]) -> None:
    needed = {**LOGPROBS, "response_format": {"type": "json_schema"}}
    everything = {"max_tokens": 100, **needed}
    assert after(said, status, needed=needed) == {key: value for key, value in everything.items() if key not in gone}
    # Whoever asked for a field is told.
    asked = request_options("m", longest_answer=100, max_tokens=5, settings=needed)
    assert asked.without_refused(status, said) is None
    assert asked.refused_by_name(status, said) in gone


def test_an_endpoint_that_knows_the_old_name_alone() -> None:
    options = request_options("o3", longest_answer=100)
    changed = options.without_refused(400, "Unrecognized request argument supplied: max_completion_tokens")
    assert changed is not None and changed[0].fields == {"model": "o3", "max_tokens": 100 + THINKING_ROOM}
    # Neither name is taken: there is an end.
    assert changed[0].without_refused(400, "Unsupported parameter: use max_completion_tokens") is None


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 8292. It must be at most 4096",
        "'max_tokens' or 'max_completion_tokens' is too large: 8292",
    ],
)
def test_room_for_thinking_that_a_server_does_not_have(said: str) -> None:
    options = request_options("qwq", longest_answer=100)
    changed = options.without_refused(400, said)
    assert changed is not None and changed[0].fields == {"model": "qwq", "temperature": 0}
    assert request_options("qwq", longest_answer=100, max_tokens=9000).without_refused(400, said) is None


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("The response was filtered: content management policy", 400),
        (
            "This model's maximum context length is 8192 tokens, however you requested 9000 tokens (max_tokens: 100)",
            400,
        ),
        ("Unsupported parameter: 'temperature'", 500),
        ("temperature is nice", 400),
        ("", 400),
    ],
)
def test_other_refusals_change_nothing(said: str, status: int) -> None:
    assert after(said, status) is None


def test_a_model_that_turns_out_to_think() -> None:
    options = request_options("m", longest_answer=100)
    changed = options.for_thinking()
    assert changed is not None and changed[0].longest == 100 + THINKING_ROOM and "thinks" in changed[1]
    assert changed[0].for_thinking() is None
    assert request_options("m", longest_answer=100, max_tokens=50).for_thinking() is None
