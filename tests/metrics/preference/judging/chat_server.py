"""A local endpoint that speaks OpenAI's chat completions, in good weather and bad."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

FAULTS = ("429", "500", "hang", "cut", "truncated", "nonsense", "empty")
HOSTILE = ("deep", "numbers", "endless", "drip", "bomb", "failed", "billed")
"""Bodies without an end, or larger than they seem, or that no reader expects; the last is billed without an answer."""

ANSWER_TOKENS = 7
_SECONDS_OF_A_DRIP = 8.0
_BYTES_WITHOUT_END = 64_000_000
_BOMB = gzip.compress(b" " * _BYTES_WITHOUT_END)


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


def pair_of(messages: list[dict[str, str]]) -> str:
    """What tells the pairs that the endpoint is asked about from each other."""
    asked = fenced(messages[-1]["content"]) or messages
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


class ChatServer:
    """Serves until it is closed; with `fault_rate`, so many calls in a hundred go wrong.

    Args:
        fault_rate: share of calls that end in one of `faults`.
        key: that must be sent; None for any.
        answer: from messages to the text of the answer, or to a dictionary of it, `logprobs` and `tool_calls`.
        seed: of the faults.
        faults: their kinds.

    Attributes:
        answered: how often every pair was answered.
        unread: how often something was billed for a pair that is no answer.
    """

    def __init__(
        self,
        fault_rate: float = 0.0,
        *,
        key: str | None = None,
        answer: Any = verdict,
        seed: int = 0,
        faults: Sequence[str] = FAULTS,
    ) -> None:
        self.lock = threading.Lock()
        self.answered: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()
        self.faults = faults
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
        size = int(self.headers["content-length"])
        sent = self.rfile.read(size)
        if len(sent) < size:
            # Who asked has been killed.
            return None
        body = json.loads(sent)
        with self.owner.lock:
            self.owner.requests.append(body)
            fault = self.owner.draw.choice(self.owner.faults) if self.owner.draw.random() < self.fault_rate else ""
        if self.key is not None and self.headers["authorization"] != f"Bearer {self.key}":
            return self._send(401, {"error": {"message": f"Incorrect key: {self.headers['authorization']}"}})
        if body["model"] == "unknown":
            return self._send(404, {"error": {"message": "no such model"}})
        if fault and fault != "truncated":
            return self._misbehave(fault, body)
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
            "usage": {"prompt_tokens": tokens_of(body["messages"]), "completion_tokens": ANSWER_TOKENS},
        }
        data = json.dumps(answer).encode()
        if fault == "truncated":
            return self._send_bytes(200, data[: len(data) // 2], "application/json")
        with self.owner.lock:
            self.owner.answered[pair_of(body["messages"])] += 1
        return self._send_bytes(200, data, "application/json")

    def _misbehave(self, fault: str, body: dict[str, Any]) -> None:
        """Do what stands for a fault, and answer nothing that can be read."""
        if fault == "hang":
            time.sleep(1.2)
        if fault in ("hang", "cut"):
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "endless":
            self._send_parts(b" " * 1_000_000 for _ in range(_BYTES_WITHOUT_END // 1_000_000))
        elif fault == "drip":
            self._send_parts(self._drops())
        elif fault == "bomb":
            self._send_bytes(200, _BOMB, "application/json", {"content-encoding": "gzip"})
        elif fault == "deep":
            self._send_bytes(200, b"[" * 100_000, "application/json")
        elif fault == "nonsense":
            self._send_bytes(200, b"<html>it works!</html>", "text/html")
        elif fault == "429":
            self._send(429, {"error": {"message": "slow down"}}, {"retry-after": "0"})
        elif fault == "500":
            self._send(500, {"error": {"message": "oops"}})
        elif fault == "failed":
            self._send(200, {"error": {"message": "the server behind this one is gone", "code": 502}})
        elif fault == "numbers":
            choice = {"index": 10**400, "message": -(10**40), "finish_reason": 1e300}
            self._send(200, {"choices": [choice], "usage": {"prompt_tokens": -5, "completion_tokens": "many"}})
        elif fault == "billed":
            with self.owner.lock:
                self.owner.unread[pair_of(body["messages"])] += 1
            usage = {"prompt_tokens": tokens_of(body["messages"]), "completion_tokens": ANSWER_TOKENS}
            self._send(200, {"choices": [], "usage": usage})
        else:
            self._send(200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []})

    def _drops(self) -> Iterator[bytes]:
        until = time.monotonic() + _SECONDS_OF_A_DRIP
        while time.monotonic() < until:
            yield b" "
            time.sleep(0.1)

    def _send_parts(self, parts: Iterable[bytes]) -> None:
        """Send a body whose end is that of the connection."""
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
        except OSError:
            self.close_connection = True

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
