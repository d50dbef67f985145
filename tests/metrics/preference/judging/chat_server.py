"""A local endpoint that speaks OpenAI's chat completions, in good weather and bad."""

from __future__ import annotations

import hashlib
import json
import random
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

FAULTS = ("429", "500", "hang", "cut", "truncated", "nonsense", "empty")


def fenced(content: str) -> list[str]:
    """What stands between the marks of the library's own templates: the instruction and both outputs."""
    return [text for _, text in re.findall(r"<<<(\w*)\n(.*?)\n\1>>>", content, re.DOTALL)]


def verdict(messages: list[dict[str, str]]) -> str:
    """Prefer the longer output of the library's own templates."""
    first, second = fenced(messages[-1]["content"])[-2:]
    better, worse = ("model_1", "model_2") if len(first) >= len(second) else ("model_2", "model_1")
    return json.dumps([{"model": better, "rank": 1}, {"model": worse, "rank": 2}])


def tokens_of(messages: list[dict[str, str]]) -> int:
    """What the endpoint counts for a prompt."""
    return sum(len(message["content"]) // 4 for message in messages)


class ChatServer:
    """Serves until it is closed; with `fault_rate`, so many calls in a hundred go wrong.

    Args:
        fault_rate: share of calls that end in one of `FAULTS`.
        key: that must be sent; None for any.
        answer: from messages to the text of the answer, or to a dictionary of it, `logprobs` and `tool_calls`.
        seed: of the faults.
    """

    def __init__(
        self, fault_rate: float = 0.0, *, key: str | None = None, answer: Any = verdict, seed: int = 0
    ) -> None:
        self.lock = threading.Lock()
        self.answered: dict[str, int] = {}
        self.requests: list[dict[str, Any]] = []
        self.draw = random.Random(seed)
        handler = type("Handler", (_Handler,), {"owner": self, "fault_rate": fault_rate, "key": key, "reply": answer})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self) -> ChatServer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    # More connections at once than the usual five.
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    owner: ClassVar[ChatServer]
    fault_rate: ClassVar[float]
    key: ClassVar[str | None]
    reply: ClassVar[Any]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.owner.lock:
            self.owner.requests.append(body)
            fault = self.owner.draw.choice(FAULTS) if self.owner.draw.random() < self.fault_rate else ""
        if self.key is not None and self.headers["authorization"] != f"Bearer {self.key}":
            return self._send(401, {"error": {"message": f"Incorrect key: {self.headers['authorization']}"}})
        if body["model"] == "unknown":
            return self._send(404, {"error": {"message": "no such model"}})
        if fault == "429":
            return self._send(429, {"error": {"message": "slow down"}}, {"retry-after": "0"})
        if fault == "500":
            return self._send(500, {"error": {"message": "oops"}})
        if fault == "hang":
            time.sleep(1.2)
        if fault in ("hang", "cut"):
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        if fault == "nonsense":
            return self._send_bytes(200, b"<html>it works!</html>", "text/html")
        if fault == "empty":
            return self._send(200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []})
        reply = type(self).reply(body["messages"])
        said = {"text": reply} if isinstance(reply, str) else reply
        message = {"role": "assistant", "content": said["text"], "tool_calls": said.get("tool_calls")}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": said.get("logprobs")}
        answer = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": tokens_of(body["messages"]), "completion_tokens": 7, "total_tokens": 0},
        }
        data = json.dumps(answer).encode()
        if fault == "truncated":
            return self._send_bytes(200, data[: len(data) // 2], "application/json")
        with self.owner.lock:
            asked = fenced(body["messages"][-1]["content"]) or body["messages"]
            key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
            self.owner.answered[key] = self.owner.answered.get(key, 0) + 1
        return self._send_bytes(200, data, "application/json")

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(content).encode(), "application/json", headers)

    def _send_bytes(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            # Who asked has been killed.
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        return None
