"""BERTScore of pairs of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genrlhf.errors import ModelError, excerpt
from genrlhf.metrics.checks import whole_characters

__all__ = ["BERTScorer"]


class BERTScorer:
    """The F-measure of the best-matching contextual embeddings of two texts' tokens.

    With a and b the unit embeddings of the tokens of two texts, special tokens included::

        P = mean_i max_j a_i · b_j,   R = mean_j max_i a_i · b_j,   F = 2 P R / (P + R)

    Zhang et al. 2020, "BERTScore", equation 1 without importance weights and rescaling. F is the same both ways round.
    Every text goes through the encoder once.

    Args:
        model: a hub name or folder of an encoder.
        layer: whose hidden states are the embeddings; the last one by default.
        batch_size: texts per forward pass.
        device: such as "cuda"; by default a GPU where there is one.

    Raises:
        ModelError: there is no such encoder.
    """

    def __init__(self, model: str, *, layer: int = -1, batch_size: int = 64, device: str | None = None) -> None:
        self.name = model
        self.layer = layer
        self.batch_size = batch_size
        self.device = device
        self._loaded: tuple[Any, Any] | None = None

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return F of every pair."""
        embeddings = self._embed(list(dict.fromkeys(text for pair in pairs for text in pair)))
        scores = []
        for a, b in pairs:
            cosines = embeddings[a] @ embeddings[b].T
            precision, recall = float(cosines.max(axis=1).mean()), float(cosines.max(axis=0).mean())
            scores.append(2 * precision * recall / (precision + recall))
        return scores

    def _embed(self, texts: list[str]) -> dict[str, np.ndarray]:
        import torch

        tokenizer, model = self._load()
        found: dict[str, np.ndarray] = {}
        order = sorted(texts, key=len)
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            shown = [whole_characters(text) for text in part]
            inputs = tokenizer(shown, padding=True, truncation=True, return_tensors="pt").to(model.device)
            with torch.inference_mode():
                states = model(**inputs, output_hidden_states=True).hidden_states[self.layer]
            units = torch.nn.functional.normalize(states.float(), dim=-1).cpu().numpy()
            lengths = inputs["attention_mask"].sum(-1).tolist()
            found |= {text: units[row, :length] for row, (text, length) in enumerate(zip(part, lengths, strict=True))}
        return found

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer

            try:
                tokenizer: Any = AutoTokenizer.from_pretrained(self.name, padding_side="right", trust_remote_code=False)
                model: Any = AutoModel.from_pretrained(self.name, trust_remote_code=False)
            except (OSError, ValueError) as error:
                raise ModelError(
                    f"There is no encoder at {self.name!r}: {excerpt(str(error), 200)}. Give the folder of a saved "
                    "encoder or a name on the hub (and mind HF_HUB_OFFLINE)."
                ) from error
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = tokenizer, model.to(device).eval()
        return self._loaded
