"""Endpoints that refuse fields, and models that turn out to think."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from genrlhf.errors import JudgeError
from genrlhf.metrics.preference import AnswerStore, OpenAIJudge, judge_template
from genrlhf.metrics.preference.judging.request_options import THINKING_ROOM

pytestmark = pytest.mark.enable_socket

RANKING = '[{"model": "model_1", "rank": 1}, {"model": "model_2", "rank": 2}]'


class Server:
    """Answers as `reply(request)` says: a status and a body."""

    def __init__(self, reply: Any) -> None:
        self.requests: list[dict[str, Any]] = []
        handler = type("Handler", (_Handler,), {"owner": self, "reply": staticmethod(reply)})
        self.http = _Listener(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: Any) -> None:
        self.http.shutdown()
        self.http.server_close()


class _Listener(ThreadingHTTPServer):
    # More connections at once than the usual five.
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    owner: ClassVar[Server]
    reply: ClassVar[Any]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.owner.requests.append(request)
        status, body = type(self).reply(request)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return None


def refusal(message: str, status: int = 400) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def answer(text: str | None, finish: str = "stop", **message: Any) -> tuple[int, Any]:
    said = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "finish_reason": finish, "message": said}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def reasoning_model(request: dict[str, Any]) -> tuple[int, Any]:
    """As OpenAI's are: one complaint at a time."""
    if "max_tokens" in request:
        return refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        )
    if request.get("temperature", 1) != 1:
        return refusal("Unsupported value: 'temperature' does not support 0 with this model. Only 1 is supported.")
    if "logprobs" in request or "top_logprobs" in request:
        return refusal("You are not allowed to request logprobs from this model.", 403)
    return answer("M" if "single letter" in request["messages"][1]["content"] else RANKING)


PAIRS = ([f"p{i}" for i in range(20)], ["a"] * 20, ["b"] * 20)


@pytest.mark.parametrize("form", ["ranking", "letter", "logprobs"])
@pytest.mark.parametrize("model", ["o4-mini", "my-deployment"])
def test_reasoning_models_by_any_name_cost_few_calls(model: str, form: Any) -> None:
    said: list[str] = []
    with Server(reasoning_model) as server:
        judge = OpenAIJudge(
            model, judge_template("news", form), base_url=server.url, concurrency=4, max_retries=0, report=said.append
        )
        assert judge(*PAIRS) == [1.0 if form == "ranking" else 2.0] * 20
        most = 0 if model == "o4-mini" else 4
        assert len(server.requests) - 20 <= most and len(said) == (1 if most else 0)
        assert set(server.requests[-1]) == {"model", "messages", "max_completion_tokens"}
        assert judge.endpoint.usage.answered == 20 and judge.endpoint.usage.failed == 0


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Bad request", "code": "unsupported_parameter", "param": "max_tokens"},
        {"message": "Unsupported parameter", "param": "max_tokens"},
        {"message": "This model is not supported MaxTokens using this model, please use MaxCompletionTokens instead"},
    ],
)
def test_fields_that_only_the_codes_name(error: dict[str, Any]) -> None:
    def refuses(request: dict[str, Any]) -> tuple[int, Any]:
        return (400, {"error": error}) if "max_tokens" in request else answer(RANKING)

    with Server(refuses) as server:
        judge = OpenAIJudge("m", base_url=server.url, concurrency=1, max_retries=0, report=lambda words: None)
        assert judge(*PAIRS) == [1.0] * 20 and len(server.requests) == 21


def test_a_change_is_a_warning_where_nobody_listens() -> None:
    with Server(reasoning_model) as server:
        judge = OpenAIJudge("my-deployment", base_url=server.url, max_retries=0)
        with pytest.warns(
            UserWarning, match="my-deployment: max_completion_tokens is sent in place of max_tokens, and temp"
        ):
            assert judge(["p"], ["a"], ["b"]) == [1.0]


def test_fields_that_were_asked_for_end_the_run_where_they_are_refused() -> None:
    with Server(reasoning_model) as server:
        judge = OpenAIJudge("o3", temperature=0.0, base_url=server.url, concurrency=1, max_retries=0)
        with pytest.raises(
            JudgeError, match="temperature.*the endpoint takes no temperature, or not this one: leave it out"
        ):
            judge(*PAIRS)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "cut",
    [
        {"text": "<think>\nThe first is"},
        {"text": None, "reasoning_content": "The first is"},
        {"text": "", "reasoning": "The first is"},
    ],
)
def test_a_model_that_turns_out_to_think_gets_room(cut: dict[str, Any], tmp_path: Path) -> None:
    def thinks(request: dict[str, Any]) -> tuple[int, Any]:
        return answer(**cut, finish="length") if request["max_tokens"] < 500 else answer(f"<think>…</think>{RANKING}")

    said: list[str] = []
    with Server(thinks) as server:
        store = AnswerStore(tmp_path / "s.sqlite")
        judge = OpenAIJudge("m", base_url=server.url, concurrency=2, max_retries=0, store=store, report=said.append)
        assert judge(*PAIRS) == [1.0] * 20
        assert len(server.requests) <= 22 and len(said) == 1 and "thinks before it answers" in said[0]
        assert server.requests[-1]["max_tokens"] == 100 + THINKING_ROOM
        # What was cut off was billed.
        asked = len(server.requests)
        assert judge.endpoint.usage.completion_tokens == 10 * asked and store.total() == (20, 100 * asked, 10 * asked)
        # What is kept was asked for as before the change.
        again = OpenAIJudge("m", base_url=server.url, store=store)
        assert again(*PAIRS) == [1.0] * 20 and len(server.requests) == asked
        # Where the length was asked for it stays, and there is no answer.
        judge = OpenAIJudge("m", base_url=server.url, max_tokens=50, max_retries=0)
        assert judge(["p"], ["a"], ["b"]) == [None]
        assert "max_tokens" in (judge.answers[0].reason or "")


def test_a_schema_where_the_endpoint_has_none() -> None:
    def plain(request: dict[str, Any]) -> tuple[int, Any]:
        if "response_format" in request:
            return refusal("This response_format type is unavailable now")
        return answer('{"better": "model_2"}')

    said: list[str] = []
    with Server(plain) as server:
        judge = OpenAIJudge(
            "m",
            judge_template(answer="structured"),
            base_url=server.url,
            concurrency=3,
            max_retries=0,
            report=said.append,
        )
        assert judge(*PAIRS) == [2.0] * 20
        assert server.requests[0]["response_format"]["json_schema"]["schema"]["required"] == ["better"]
        assert len(server.requests) <= 23 and said[0].startswith("response_format is not sent")


def test_a_server_without_room() -> None:
    def small(request: dict[str, Any]) -> tuple[int, Any]:
        if request.get("max_tokens", 0) > 4096:
            return refusal("'max_tokens' or 'max_completion_tokens' is too large: 8292. The maximum context is 4096.")
        return answer(RANKING)

    with Server(small) as server:
        judge = OpenAIJudge("qwq", base_url=server.url, concurrency=1, max_retries=0, report=lambda words: None)
        assert judge(*PAIRS) == [1.0] * 20 and len(server.requests) == 21


def test_refusals_of_single_pairs_change_nothing() -> None:
    def filtered(request: dict[str, Any]) -> tuple[int, Any]:
        if "p3" in request["messages"][1]["content"]:
            return refusal("The prompt was filtered by the content management policy; temperature and violence: high")
        return answer(RANKING)

    with Server(filtered) as server:
        judge = OpenAIJudge("m", base_url=server.url, max_retries=0)
        found = judge(*PAIRS)
        assert found.count(None) == 1 and found[3] is None
        assert server.requests[-1]["temperature"] == 0
