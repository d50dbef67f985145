"""Embeddings of texts: every text once, whatever asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from genrlhf.errors import ConfigError, DataError, ModelError, excerpt
from genrlhf.metrics.checks import for_encoder
from genrlhf.metrics.diversity.definitions import Definition
from genrlhf.metrics.diversity.embedding_cache import EmbeddingCache, model_key
from genrlhf.metrics.diversity.remarks import cut_remark, longer_than

__all__ = ["DEFAULT_ENCODER", "Embedder", "Encoder", "as_embedder", "sentence_encoder"]

Encoder: TypeAlias = Callable[[list[str]], Any]
"""`texts -> embeddings`, an array (len(texts), d)."""

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"

RELEASED_ENCODER = "sentence-transformers/bert-large-nli-stsb-mean-tokens"
"""What the code released with Kirk et al. 2024 embeds texts with (its `SentBertSimilarity`)."""

_REMEMBERED = 50_000
"""Texts whose embeddings are kept in memory: with 1024 dimensions, 200 MB."""


class Embedder:
    """Embeds every text once, however many metrics and sets it is in.

    Texts go to the encoder in Unicode's composed form (NFC). Those that are longer than it takes are cut by it; what
    asks for their embeddings warns of how many there are, where the encoder says what it takes (a
    `SentenceTransformer`).

    Give one embedder to several metrics, and they share its work. The latest 50,000 texts or so are remembered; with
    `cache`, all are kept on disk too, so that a second run does not call the encoder.

    Args:
        encoder: a hub name or folder that `SentenceTransformer` loads when first needed (a plain transformers encoder
            gets mean pooling), a `SentenceTransformer`, or any callable from a list of texts to an array (texts, d),
            such as `OpenAIEmbeddings`.
        cache: a folder for embeddings on disk, keyed by model and text. The key of a folder is made of its weights, of
            a hub name of its revision; a callable needs a `cache_key` of its own.
        batch_size: texts per forward pass; a plain callable gets all texts at once.
        device: where a name is loaded, such as "cuda"; by default wherever `SentenceTransformer` sees fit.

    Raises:
        ConfigError: for a cache for what has no key.
    """

    def __init__(
        self,
        encoder: str | Encoder | Any = DEFAULT_ENCODER,
        *,
        cache: str | PathLike[str] | None = None,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self.device = device
        self._remembered: dict[str, np.ndarray] = {}
        self._cut: dict[str, int] = {}
        self._cache: EmbeddingCache | None = None
        if cache is not None:
            key = getattr(encoder, "cache_key", None)
            if isinstance(encoder, str):
                key = model_key(encoder)
                if key is None:  # not on this machine yet
                    self.encoder = _load(encoder, device)
                    key = model_key(encoder) or encoder
            if not key:
                raise ConfigError(
                    "cache needs to know which encoder made the embeddings; give a model's name or folder, or a "
                    "callable with a cache_key."
                )
            self._cache = EmbeddingCache(Path(cache), str(key))

    def directions(self, sets: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the embeddings of every set of texts scaled to length 1, (texts, d) float64; zero stays zero.

        Raises:
            ModelError: the encoder does not return one row per text.
            DataError: the embedding of a text is not finite.
        """
        sets = [[for_encoder(text) for text in texts] for texts in sets]
        distinct = list(dict.fromkeys(text for texts in sets for text in texts))
        if not distinct:
            return [np.zeros((0, 1)) for _ in sets]
        found = self._embed(distinct)
        table = np.stack([found[text] for text in distinct]).astype(np.float64)
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        units = np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)
        places = {text: place for place, text in enumerate(distinct)}
        return [units[[places[text] for text in texts]] for texts in sets]

    def remarks(self, texts: Sequence[str]) -> dict[str, int]:
        """Return how many of `texts`, which were embedded, the encoder did not see the ends of."""
        cut = [self._cut[text] for text in map(for_encoder, texts) if text in self._cut]
        return cut_remark(len(cut), max(cut, default=0))

    def _embed(self, texts: list[str]) -> dict[str, np.ndarray]:
        found = {text: self._remembered[text] for text in texts if text in self._remembered}
        if self._cache is not None:
            kept = self._cache.read([text for text in texts if text not in found])
            found |= kept
            self._cut |= self._cache.read_cut(list(kept))
        missing = [text for text in texts if text not in found]
        if missing:
            fresh = dict(zip(missing, _check(self._encode(missing), missing), strict=True))
            cut = _too_long(self.encoder, missing)
            found |= fresh
            self._cut |= cut
            if self._cache is not None:
                self._cache.write(fresh, cut)
        if len(self._remembered) + len(found) > _REMEMBERED:
            self._remembered.clear()
            self._cut = {text: self._cut[text] for text in found if text in self._cut}
        self._remembered |= found
        return found

    def _encode(self, texts: list[str]) -> Any:
        if isinstance(self.encoder, str):
            self.encoder = _load(self.encoder, self.device)
        if hasattr(self.encoder, "encode"):
            return self.encoder.encode(
                texts, batch_size=self.batch_size, convert_to_numpy=True, show_progress_bar=False
            )
        return self.encoder(texts)


def sentence_encoder(definition: Definition) -> str:
    """Return the name of the encoder of a definition; those that are published leave it open."""
    return RELEASED_ENCODER if definition == "released-code" else DEFAULT_ENCODER


def as_embedder(encoder: str | Encoder | Embedder | Any, **options: Any) -> Embedder:
    """Return an embedder as it is, and one of its own for any other encoder."""
    return encoder if isinstance(encoder, Embedder) else Embedder(encoder, **options)


def _too_long(encoder: Any, texts: list[str]) -> dict[str, int]:
    """Return the texts of which a `SentenceTransformer` sees the first tokens only, with how many it sees."""
    limit = getattr(encoder, "max_seq_length", None)
    if not isinstance(limit, int):
        return {}
    return {texts[row]: limit for row in longer_than(limit, texts, getattr(encoder, "tokenizer", None))}


def _check(returned: Any, texts: list[str]) -> np.ndarray:
    embeddings = np.asarray(returned)
    if embeddings.ndim != 2 or len(embeddings) != len(texts):
        raise ModelError(
            f"The encoder returned an array of shape {embeddings.shape} for {len(texts)} texts; it must return one row "
            "per text."
        )
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        text = texts[int(np.argmin(finite))]
        raise DataError(f"The embedding of {excerpt(text)} is not finite; drop the text.")
    return embeddings


def _load(name: str, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(name, device=device, trust_remote_code=False)
    # What is no model, or a damaged one, raises errors that have no base in common.
    except Exception as error:
        raise ModelError(
            f"There is no sentence encoder at {name!r}: {excerpt(str(error), 200)}. Give the folder of a saved "
            "SentenceTransformer or a name on the hub (and mind HF_HUB_OFFLINE)."
        ) from error
