"""A local server that answers requests by a script, byte by byte where that is wanted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OK = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}


@dataclass
class Reply:
    """A status, headers and a body: bytes, or parts of it with pauses of `every` seconds between them."""

    status: int = 200
    body: Any = field(default_factory=lambda: OK)
    headers: dict[str, str] = field(default_factory=dict)
    every: float = 0.0


class _Server(ThreadingHTTPServer):
    # More connections at once than the usual five.
    request_queue_size = 128


class ScriptedServer:
    """Serves `reply(body, number)`, number counting from 0; other bodies than bytes and iterators go as JSON."""

    def __init__(self, reply: Callable[[dict[str, Any], int], Reply | None]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.sent = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    number = len(outer.requests)
                    outer.requests.append(body)
                    outer.paths.append(self.path)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.times.append(time.monotonic())
                said = reply(body, number)
                if said is None:
                    self.close_connection = True
                    return
                parts = said.body if isinstance(said.body, Iterator) else iter([_encoded(said.body)])
                try:
                    self.send_response(said.status)
                    for name, value in {"content-type": "application/json", **said.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    for part in parts:
                        self.wfile.write(part)
                        outer.sent += len(part)
                        time.sleep(said.every)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                return None

        self.http = _Server(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self) -> ScriptedServer:
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.http.shutdown()
        self.http.server_close()


def _encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()
