"""Embeddings from a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genrlhf.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from genrlhf.openai_client.session import Session

__all__ = ["OpenAIEmbeddings"]

_LARGEST_ANSWER = 64 * 2**20
"""Bytes: 256 texts of 3072 dimensions take up to 20 million."""


class OpenAIEmbeddings:
    """Embeddings from any server with OpenAI's embeddings endpoint, for an `Embedder`.

    Args:
        model: the name that the server knows the model by.
        base_url: such as http://localhost:8000/v1; by default `OPENAI_BASE_URL`, or OpenAI's own.
        api_key: by default `OPENAI_API_KEY`; it is neither stored elsewhere nor printed.
        batch_size: texts a request.
        max_retries: attempts after the first, where one failed for want of capacity, connection or time, or its answer
            was none.
        timeout: seconds that an attempt may take in all.

    Raises:
        ConfigError: an address or setting that cannot work.
        ModelError: there is no key, or the server refuses or fails.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        batch_size: int = 256,
        max_retries: int = 6,
        timeout: float = 60.0,
    ) -> None:
        from genrlhf.openai_client.client import OpenAIClient, check_at_least

        check_at_least(batch_size=(batch_size, 1))
        self.model = model
        self.batch_size = batch_size
        self._client = OpenAIClient(
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            largest_answer=_LARGEST_ANSWER,
        )
        try:
            self._client.check_key()
        except ConfigError as error:
            raise ModelError(str(error)) from None
        self.cache_key = f"{self._client.address}/{model}"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), d) float64 embeddings."""
        from genrlhf.openai_client.failures import RequestError
        from genrlhf.openai_client.threads import run_in_thread

        try:
            rows = run_in_thread(lambda: self._embed(texts))
        except RequestError as failure:
            raise ModelError(
                f"The embeddings endpoint {failure}. What was embedded before is in the cache, if there is one."
            ) from None
        return np.array(rows, dtype=np.float64)

    async def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        rows: list[list[float]] = []
        async with self._client.session() as session:
            for start in range(0, len(texts), self.batch_size):
                # The endpoint refuses empty texts.
                part = [text or " " for text in texts[start : start + self.batch_size]]
                rows += await session.ask(lambda part=part: self._attempt(session, part))  # type: ignore[misc]
        if len({len(row) for row in rows}) > 1:
            raise ModelError(f"The embeddings endpoint {self._client.address} gave vectors of several lengths.")
        return rows

    async def _attempt(self, session: Session, part: list[str]) -> list[list[float]]:
        from genrlhf.openai_client.failures import RequestError, Scope

        body = {"model": self.model, "input": part, "encoding_format": "float"}
        found, _ = await session.post("embeddings", body)
        vectors = _vectors(found)
        if sorted(vectors) != list(range(len(part))):
            raise RequestError(f"{self._client.address} answered {len(vectors)} of {len(part)} texts", Scope.ATTEMPT)
        return [vectors[index] for index in range(len(part))]


def _vectors(found: dict[str, Any]) -> dict[int, list[float]]:
    """Return the vectors in what a server sent, by the place of their text; what is none is left out."""
    data = found.get("data")
    vectors: dict[int, list[float]] = {}
    for item in data if isinstance(data, list) else []:
        index, vector = (item.get("index"), item.get("embedding")) if isinstance(item, dict) else (None, None)
        if isinstance(index, int) and isinstance(vector, list) and vector and all(map(_is_finite, vector)):
            vectors[index] = vector
    return vectors


def _is_finite(value: Any) -> bool:
    # A larger whole number is no float32, nor may it be any float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e38
