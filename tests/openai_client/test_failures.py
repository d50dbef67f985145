"""Failures, told apart by what servers say: those of OpenAI, Azure, Google, vLLM, routers and proxies."""

from __future__ import annotations

import email.utils
import json
from typing import Any

import pytest

from genrlhf.openai_client.failures import Scope, parse_json, refusal, retry_after


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


ATTEMPT, REQUEST, RUN = Scope.ATTEMPT, Scope.REQUEST, Scope.RUN
TABLE: list[tuple[int, Any, Scope]] = [
    # What passes.
    (429, said("Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM)"), ATTEMPT),
    (429, [said("You exceeded your current quota, please check your plan", status="RESOURCE_EXHAUSTED")], ATTEMPT),
    (500, said("The server had an error while processing your request"), ATTEMPT),
    (503, b"upstream connect error or disconnect/reset before headers", ATTEMPT),
    (502, b"<html>Bad Gateway</html>", ATTEMPT),
    (529, said("Overloaded", type="overloaded_error"), ATTEMPT),
    (429, {"message": "Too many tokens, please wait before trying again."}, ATTEMPT),
    (408, b"", ATTEMPT),
    (409, said("conflict"), ATTEMPT),
    # What one request gets.
    (400, said("blocked", code="content_filter", param="prompt"), REQUEST),
    (
        400,
        said("The response was filtered due to the prompt triggering Azure OpenAI's content management policy"),
        REQUEST,
    ),
    (400, said("no", innererror={"code": "ResponsibleAIPolicyViolation"}), REQUEST),
    (400, said("Invalid prompt: your prompt was flagged as potentially violating our usage policy"), REQUEST),
    (400, said("Output data may contain inappropriate content.", code="data_inspection_failed"), REQUEST),
    (403, said("Your input was flagged by moderation", code=403), REQUEST),
    (400, said("Content Exists Risk", code="invalid_request_error"), REQUEST),
    (400, said("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301"), REQUEST),
    (400, said("the input text may contain sensitive information", code="SensitiveContentDetected"), REQUEST),
    (451, b"", REQUEST),
    (422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000"}, REQUEST),
    (422, {"error": "`inputs` must have less than 4096 tokens. Given: 5000"}, REQUEST),
    (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]"}, REQUEST),
    (400, said("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"), REQUEST),
    (400, {"object": "error", "message": "The prompt is too long: 9000 tokens", "code": 400}, REQUEST),
    (400, said("the request exceeds the available context size. try increasing the context size"), REQUEST),
    (413, b"<html>413 Request Entity Too Large</html>", REQUEST),
    (500, said("This model's maximum context length is 64 tokens. However, you requested 99"), REQUEST),
    (429, said("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000"), REQUEST),
    # What all would get.
    (401, said("Incorrect API key provided"), RUN),
    (401, {"detail": "Unauthorized"}, RUN),
    (402, said("This request requires more credits"), RUN),
    (403, said("Country, region, or territory not supported"), RUN),
    (404, said("The model `m` does not exist", code="model_not_found"), RUN),
    (404, b"404 page not found", RUN),
    (405, {"detail": "Method Not Allowed"}, RUN),
    (301, b"", RUN),
    (308, b"", RUN),
    (429, said("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota"), RUN),
    (429, said("You exceeded your current quota, please check your plan and billing details."), RUN),
    (429, said("Billing hard limit has been reached", code="billing_hard_limit_reached"), RUN),
    (400, said("Your credit balance is too low to access the API"), RUN),
    (429, said("余额不足或无可用资源包,请充值。", code="1113"), RUN),
    (429, said("Your account is suspended, please check billing", type="exceeded_current_quota_error"), RUN),
    (429, {"code": "exhausted", "error": "Your team has either used all available credits or reached its limit"}, RUN),
    (400, said("You have reached your specified API usage limits. You will regain access on 2026-12-01"), RUN),
    (400, said("Budget has been exceeded! Current cost: 1.2", type="budget_exceeded"), RUN),
    (501, b"Unsupported method", RUN),
]


@pytest.mark.parametrize(("status", "body", "scope"), TABLE, ids=[f"{row[0]}-{n}" for n, row in enumerate(TABLE)])
def test_what_a_refusal_means(status: int, body: Any, scope: Scope) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = refusal(status, {}, content, where="http://x/v1", model="m")
    assert found.scope is scope and found.status == status
    assert not found.doubtful or status == 403
    assert str(found).startswith("http://x/v1 ") and "\n" not in str(found)


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens",
        "Unsupported value: 'temperature' does not support 0 with this model.",
        "Unknown parameter: 'safety_settings'",
    ],
)
def test_refusals_of_an_unknown_kind_are_doubtful(message: str) -> None:
    # Whether it is this request or every one, the next ones tell.
    for status in (400, 422):
        found = refusal(status, {}, json.dumps(said(message)).encode(), where="x", model="m")
        assert found.scope is Scope.REQUEST and found.doubtful and found.said == message and not found.too_long


def test_too_long_is_told_from_other_refusals() -> None:
    assert refusal(400, {}, b'{"message": "maximum context length is 9"}', where="x", model="m").too_long
    assert refusal(413, {}, b"", where="x", model="m").too_long
    assert not refusal(400, {}, b'{"error": {"code": "content_filter"}}', where="x", model="m").too_long


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"error": ' * 50_000, b"\xff\xfe", b"1" * 5000, b"[]", b"null", b"7"]
)
def test_hostile_refusals_are_one_line(body: bytes) -> None:
    found = refusal(500, {}, body, where="x", model="m")
    assert found.scope is Scope.ATTEMPT and len(str(found)) < 400 and "\n" not in str(found)
    assert "\x1b" not in str(refusal(400, {}, b'{"message": "a\\u001b[31m\\nb"}', where="x", model="m"))


NOW = 1_800_000_000.0
DATE = email.utils.formatdate(NOW + 7, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": DATE}, 7.0),
        ({"retry-after": email.utils.formatdate(NOW - 7, usegmt=True)}, 0.0),
        ({"retry-after": DATE, "date": email.utils.formatdate(NOW + 2, usegmt=True)}, 5.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-4"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 99 Foo 99999 99:99:99 GMT"}, None),
        ({"retry-after": ""}, None),
    ],
    ids=str,
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    # The server's clock may be wrong, and ours: the difference is what it means.
    now = None if "date" in headers else NOW
    assert retry_after(headers, now) == seconds


def test_json_of_a_stranger() -> None:
    assert parse_json(b'{"a": 1e999}') == {"a": float("inf")}
    for depth in (101, 900):
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(b"[" * depth + b"]" * depth)
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(b'{"a":' * depth + b"1" + b"}" * depth)
    assert parse_json(b"[" * 99 + b"]" * 99)
    for bad in (b"[" * 200_000, b"1" * 10_000, b"{", b"\xff", b""):
        with pytest.raises(ValueError, match="nested too deeply|no JSON"):
            parse_json(bad)
