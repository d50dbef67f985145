"""Embeddings on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genrlhf.metrics.keyed_table import KeyedTable

__all__ = ["EmbeddingCache", "model_key"]


class EmbeddingCache:
    """Float32 embeddings of texts in a file of SQLite, keyed by model and text.

    Args:
        folder: where the file `embeddings.sqlite` lies; made where it is missing.
        model: what tells the model from others.

    Raises:
        ConfigError: the file is no such cache.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.model = model
        file, what = folder / "embeddings.sqlite", "cache of embeddings"
        self._table = KeyedTable(file, "embeddings", {"vector": "BLOB"}, what=what)
        self._cut = KeyedTable(file, "cut", {"tokens": "INTEGER"}, what=what)

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.model}\0{text}".encode("utf-8", "surrogatepass")).digest()

    def read(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the embeddings that are there."""
        keys = {self._key(text): text for text in texts}
        return {
            keys[key]: np.frombuffer(vector, dtype="<f4") for key, (vector,) in self._table.read(list(keys)).items()
        }

    def read_cut(self, texts: Sequence[str]) -> dict[str, int]:
        """Return, of the texts that the model did not see the ends of, how many tokens it saw."""
        keys = {self._key(text): text for text in texts}
        return {keys[key]: tokens for key, (tokens,) in self._cut.read(list(keys)).items()}

    def write(self, embeddings: Mapping[str, np.ndarray], cut: Mapping[str, int] | None = None) -> None:
        """Add embeddings, all of them or none, and of texts that were cut how many tokens were left of them."""
        self._cut.write((self._key(text), tokens) for text, tokens in (cut or {}).items())
        self._table.write((self._key(text), vector.astype("<f4").tobytes()) for text, vector in embeddings.items())


def model_key(name: str) -> str | None:
    """Return what tells a model from others: a digest of the files in a folder, or a hub name with its revision.

    None for a name that is not on this machine.
    """
    folder = Path(name)
    if not folder.is_dir():
        revision = _revision(name)
        return f"{name}@{revision}" if revision else None
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        with file.open("rb") as data:
            while block := data.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _revision(name: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    for file in ("modules.json", "config.json"):
        found = try_to_load_from_cache(name, file)
        if isinstance(found, str):
            return Path(found).parent.name
    return None
