"""BERTScore of pairs of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from genrlhf.errors import ConfigError, ModelError, excerpt
from genrlhf.metrics.checks import for_encoder
from genrlhf.metrics.diversity.bert_score_layers import known_layer
from genrlhf.metrics.diversity.remarks import cut_remark, longer_than, most_tokens

__all__ = ["BERTScorer"]


class _Tokens(NamedTuple):
    """The tokens of a text.

    Attributes:
        units: (tokens, d) float32, their embeddings at length 1.
        counts: (tokens,) bool, those with a weight.
    """

    units: np.ndarray
    counts: np.ndarray


class BERTScorer:
    """The F-measure of the best-matching contextual embeddings of two texts' tokens.

    With a and b the unit embeddings of the tokens of two texts, w and v 0 for the tokens that begin and end a text
    ([CLS], [SEP]) and 1 for all others::

        P = Σ_i w_i max_j a_i · b_j / Σ w,   R = Σ_j v_j max_i a_i · b_j / Σ v,   F = 2 P R / (P + R)

    Zhang et al. 2020, "BERTScore", equation 1 without importance weights (idf) and rescaling; as in their package
    `bert-score` 0.3.13, a token may well match the other text's [CLS] or [SEP]. F is the same both ways round. Every
    text goes through the encoder once.

    Args:
        model: a hub name or folder of an encoder.
        layer: after which layer the hidden states are taken, from 1; by default the one that the package takes for a
            model of this name, and the last one for models that it does not know.
        batch_size: texts per forward pass.
        device: such as "cuda"; by default a GPU where there is one.

    Raises:
        ConfigError: the layer is below 1.
        ModelError: there is no such encoder, or it has fewer layers.
    """

    def __init__(
        self, model: str, *, layer: int | None = None, batch_size: int = 64, device: str | None = None
    ) -> None:
        if layer is not None and layer < 1:
            raise ConfigError(f"layer is {layer}; give one from 1 on, or None for that of the bert-score package.")
        self.name = model
        self.layer = layer
        self.batch_size = batch_size
        self.device = device
        self._loaded: tuple[Any, Any] | None = None
        self._cut: dict[int, int] = {}

    def remarks(self, texts: Sequence[str]) -> dict[str, int]:
        """Return how many of `texts`, which were scored, the encoder did not see the ends of."""
        cut = [self._cut[hash(text)] for text in texts if hash(text) in self._cut]
        return cut_remark(len(cut), max(cut, default=0))

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return F of every pair; NaN where a text has no tokens that count."""
        tokens = self._embed(list(dict.fromkeys(text for pair in pairs for text in pair)))
        return [_f_measure(tokens[a], tokens[b]) for a, b in pairs]

    def _embed(self, texts: list[str]) -> dict[str, _Tokens]:
        import torch

        tokenizer, model = self._load()
        bare = [special for special in (tokenizer.cls_token_id, tokenizer.sep_token_id) if special is not None]
        limit = most_tokens(tokenizer, model.config)
        found: dict[str, _Tokens] = {}
        order = sorted(texts, key=len)
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            shown = [_prepared(text, tokenizer) for text in part]
            encoded = tokenizer(shown, padding=True, truncation=True, max_length=limit, return_tensors="pt")
            if limit is not None:
                self._cut |= {hash(part[row]): limit for row in longer_than(limit, shown, tokenizer)}
            ids, mask = encoded["input_ids"].to(model.device), encoded["attention_mask"].to(model.device)
            with torch.inference_mode():
                states = model(input_ids=ids, attention_mask=mask).last_hidden_state
            units = torch.nn.functional.normalize(states.float(), dim=-1).cpu().numpy()
            there, numbers = mask.bool().cpu().numpy(), ids.cpu().numpy()
            for row, text in enumerate(part):
                found[text] = _Tokens(units[row, there[row]], ~np.isin(numbers[row, there[row]], bare))
        return found

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer

            try:
                tokenizer: Any = AutoTokenizer.from_pretrained(self.name, padding_side="right", trust_remote_code=False)
                model: Any = AutoModel.from_pretrained(self.name, trust_remote_code=False)
            # What is no model, or a damaged one, raises errors that have no base in common.
            except Exception as error:
                raise ModelError(
                    f"There is no encoder at {self.name!r}: {excerpt(str(error), 200)}. Give the folder of a saved "
                    "encoder or a name on the hub (and mind HF_HUB_OFFLINE)."
                ) from error
            if getattr(model.config, "is_encoder_decoder", False):
                model = model.get_encoder()
            _cut_behind(model, known_layer(self.name) if self.layer is None else self.layer, self.name)
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = tokenizer, model.to(device).eval()
        return self._loaded


def _f_measure(a: _Tokens, b: _Tokens) -> float:
    if not a.counts.any() or not b.counts.any():
        return math.nan
    cosines = a.units @ b.units.T
    precision = float(cosines.max(axis=1)[a.counts].mean(dtype=np.float64))
    recall = float(cosines.max(axis=0)[b.counts].mean(dtype=np.float64))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _prepared(text: str, tokenizer: Any) -> str:
    """Return a text as the package gives it to a tokenizer."""
    bare = for_encoder(text).strip()
    # Byte-level tokenizers of this kind know the first word of a text by the blank in front of it.
    first = (
        bare
        and any(name in type(tokenizer).__name__ for name in ("Roberta", "GPT2"))
        and "XLM" not in str(type(tokenizer).__name__)
    )
    return f" {bare}" if first else bare


def _cut_behind(model: Any, layer: int | None, name: str) -> None:
    """Take the layers behind `layer` off, as the package does; what follows the last one follows this one then."""
    import torch

    config = model.config
    layers = getattr(config, "num_hidden_layers", None)
    if layer is None or layer == layers:
        return
    if layers is None or layer > layers:
        raise ModelError(f"{name!r} has {layers} layers, and none is number {layer}; give a layer of its own.")
    stacks = [part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == layers]
    if len(stacks) == 1:
        del stacks[0][layer:]
    elif stacks:
        raise ModelError(f"{name!r} has {len(stacks)} stacks of {layers} layers; take the last layer of it, {layers}.")
    else:  # ALBERT goes through one layer many times.
        config.num_hidden_layers = layer
