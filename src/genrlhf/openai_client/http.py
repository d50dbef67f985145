"""Answers of a bounded size."""

from __future__ import annotations

import zlib
from typing import Any

import openai

from genrlhf.errors import excerpt
from genrlhf.openai_client.failures import RequestError, Scope

__all__ = ["BoundedHTTP"]


class BoundedHTTP(openai.DefaultAsyncHttpxClient):
    """Reads the whole of an answer, up to a size, and follows no redirection, behind which the key might go astray."""

    def __init__(self, largest: int, **options: Any) -> None:
        super().__init__(follow_redirects=False, **options)
        self._largest = largest

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request and return its answer with the body read."""
        response = await super().send(request, **{**options, "stream": True})
        content = bytearray()
        try:
            async for part in response.aiter_raw():
                content += part
                self._check(len(content))
        finally:
            await response.aclose()
        headers = [
            (name, value)
            for name, value in response.headers.items()
            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        plain = self._decoded(bytes(content), response.headers.get("content-encoding", "identity").lower())
        return type(response)(response.status_code, headers=headers, content=plain, request=request)

    def _decoded(self, content: bytes, encoding: str) -> bytes:
        """Undo a compression that was not asked for, whose result may be of any size."""
        if encoding in ("identity", "") or not content:
            return content
        try:
            if encoding not in ("gzip", "x-gzip", "deflate"):
                raise zlib.error(f"of the unknown kind {encoding!r}")
            plain = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, self._largest + 1)
        except zlib.error as error:
            message = f"sent a compressed answer that cannot be read: {excerpt(str(error))}"
            raise RequestError(message, Scope.ATTEMPT, may_be_billed=True) from None
        self._check(len(plain))
        return plain

    def _check(self, size: int) -> None:
        if size > self._largest:
            message = f"sent an answer of more than {self._largest:,} bytes"
            raise RequestError(message, Scope.ATTEMPT, may_be_billed=True)
