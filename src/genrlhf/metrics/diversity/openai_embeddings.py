"""Embeddings from a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genrlhf.errors import ModelError, excerpt

__all__ = ["OpenAIEmbeddings"]


class OpenAIEmbeddings:
    """Embeddings from any server with OpenAI's embeddings endpoint, for an `Embedder`.

    Args:
        model: the name that the server knows the model by.
        base_url: such as http://localhost:8000/v1; by default `OPENAI_BASE_URL`, or OpenAI's own.
        api_key: by default `OPENAI_API_KEY`; it is neither stored elsewhere nor printed.
        batch_size: texts a request.
        max_retries: attempts after one that failed for want of capacity or connection.
        timeout: seconds that an attempt may take.

    Raises:
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
        import openai

        self.model = model
        self.batch_size = batch_size
        try:
            self._client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=max_retries, timeout=timeout)
        except openai.OpenAIError as error:
            raise ModelError("There is no key for the embeddings endpoint; set OPENAI_API_KEY.") from error
        self.cache_key = f"{self._client.base_url}{model}"

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), d) float64 embeddings."""
        import openai

        rows: list[Any] = []
        for start in range(0, len(texts), self.batch_size):
            # The endpoint refuses empty texts.
            part = [text or " " for text in texts[start : start + self.batch_size]]
            try:
                answer = self._client.embeddings.create(model=self.model, input=part, encoding_format="float")
            except openai.OpenAIError as error:
                raise ModelError(
                    f"The embeddings endpoint {self._client.base_url} failed: {excerpt(str(error), 200)}. What was "
                    "embedded before is in the cache, if there is one."
                ) from error
            vectors = {item.index: item.embedding for item in answer.data}
            if sorted(vectors) != list(range(len(part))):
                raise ModelError(f"The embeddings endpoint answered {len(vectors)} of {len(part)} texts.")
            rows += [vectors[index] for index in range(len(part))]
        return np.array(rows, dtype=np.float64)
