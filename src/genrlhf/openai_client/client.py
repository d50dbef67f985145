"""Who is asked, with what key, for how long and how often."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import openai

from genrlhf.errors import ConfigError
from genrlhf.openai_client.address import (
    NO_KEY,
    behind_proxy,
    checked_key,
    is_azure,
    needs_key,
    redactor,
    split_address,
)
from genrlhf.openai_client.http import BoundedHTTP
from genrlhf.openai_client.session import Session

__all__ = ["OpenAIClient", "check_at_least"]

_OPENAI = "https://api.openai.com/v1"
_LARGEST_ANSWER = 8 * 2**20
_LEAST_SECRET = 16
"""Characters of a key that cannot be a word of a text."""


class OpenAIClient:
    """Knows the address and the key of a server that speaks OpenAI's API, and how to treat it.

    No attribute holds the key, so that none is dumped with whoever uses the client, and no message has it. The query of
    an address, such as Azure's `?api-version=…`, goes with every request.

    Args:
        base_url: such as http://localhost:8000/v1; by default `OPENAI_BASE_URL`, or OpenAI's own.
        api_key: by default `OPENAI_API_KEY`, or a placeholder for servers that ask for none.
        timeout: seconds that an attempt may take in all, from connecting to the last byte.
        max_retries: attempts after the first.
        largest_answer: bytes that an answer may have.

    Raises:
        ConfigError: an address, key or setting that cannot work.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        max_retries: int = 8,
        largest_answer: int = _LARGEST_ANSWER,
    ) -> None:
        check_at_least(max_retries=(max_retries, 0), largest_answer=(largest_answer, 1))
        if not 0 < timeout < float("inf"):
            raise ConfigError(f"timeout must be above 0 and finite, not {timeout}.")
        url = (base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI).strip()
        parts = split_address(url)
        host, query = parts.hostname or "", dict(parse_qsl(parts.query))
        key = checked_key(api_key or os.environ.get("OPENAI_API_KEY"))
        self.timeout = timeout
        self.max_retries = max_retries
        self.largest_answer = largest_answer
        self.has_key = key != NO_KEY
        place = f"[{host}]" if ":" in host else host
        place = place if parts.port is None else f"{place}:{parts.port}"
        self.address = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        """Where the server is, without password and query."""
        headers = {"Accept-Encoding": "identity", **({"api-key": key} if is_azure(host) else {})}
        bare = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        redact = redactor([key] if self.has_key else [], parts.password)

        # A client belongs to one event loop.
        def build() -> openai.AsyncOpenAI:
            patience = openai.Timeout(timeout, connect=min(timeout, 30.0))
            http = BoundedHTTP(largest_answer, base_url=bare, timeout=patience)
            return openai.AsyncOpenAI(
                base_url=bare,
                api_key=key,
                timeout=patience,
                max_retries=0,
                default_headers=headers,
                default_query=query,
                http_client=http,
            )

        # A server may send the key back within an answer, which is kept; a placeholder may be any word.
        secret = key.encode() if len(key) >= _LEAST_SECRET else b""

        def redact_answer(content: bytes) -> bytes:
            return content.replace(secret, b"[key]") if secret else content

        self.redact: Callable[[str], str] = redact
        self.redact_answer: Callable[[bytes], bytes] = redact_answer
        self._build: Callable[[], openai.AsyncOpenAI] = build

    def check_key(self) -> None:
        """Raise `ConfigError` where there is no key and the host answers nobody without one."""
        if not self.has_key and needs_key(urlsplit(self.address).hostname or ""):
            raise ConfigError(f"There is no key for {self.address}; set OPENAI_API_KEY.")

    @asynccontextmanager
    async def session(self, *, known_good: bool = False) -> AsyncIterator[Session]:
        """Open connections for one run in one event loop.

        Args:
            known_good: the server has answered such requests before, so that a refusal is the fault of one of them.

        Raises:
            ConfigError: there is no key, or a proxy that cannot be used.
        """
        self.check_key()
        async with behind_proxy(self._build) as client:
            yield Session(self, client, known_good=known_good)


def check_at_least(**settings: tuple[float, float]) -> None:
    """Raise `ConfigError` for a setting below its least value."""
    for name, (value, least) in settings.items():
        if not value >= least:
            wanted = "0 or more" if least == 0 else f"at least {least}"
            raise ConfigError(f"{name} must be {wanted}, not {value}.")
