"""A natural-language-inference classifier as a scorer of sentence pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from genrlhf.errors import ModelError, excerpt
from genrlhf.metrics.checks import for_encoder
from genrlhf.metrics.diversity.remarks import cut_remark, most_tokens

__all__ = ["NLI_CLASSES", "NLIModel"]

NLI_CLASSES = ("contradiction", "neutral", "entailment")
"""The classes in the order in which scorers give their probabilities."""


class NLIModel:
    """Probabilities of contradiction, neutral and entailment from a sequence classifier.

    Args:
        model: a hub name or folder, with its tokenizer, of a classifier whose `config.id2label` names the three classes
            in any order and case.
        batch_size: pairs per forward pass, at most.
        max_batch_tokens: tokens per forward pass, padding included.
        max_length: tokens of a pair, fewer where the classifier takes no more; of a longer one the longer sentence is
            cut.
        device: such as "cuda"; by default a GPU where there is one.

    Raises:
        ModelError: there is no such model, or its labels are not those of NLI.
    """

    def __init__(
        self,
        model: str,
        *,
        batch_size: int = 64,
        max_batch_tokens: int = 8192,
        max_length: int = 256,
        device: str | None = None,
    ) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
            self.model: Any = AutoModelForSequenceClassification.from_pretrained(model, trust_remote_code=False)
        # What is no model, or a damaged one, raises errors that have no base in common.
        except Exception as error:
            raise ModelError(
                f"There is no NLI model at {model!r}: {excerpt(str(error), 200)}. Give the folder of a saved "
                "classifier or a name on the hub (and mind HF_HUB_OFFLINE)."
            ) from error
        self.columns = _columns(self.model.config.id2label, model)
        self.batch_size = batch_size
        self.max_batch_tokens = max_batch_tokens
        self.max_length = min(max_length, most_tokens(self.tokenizer, self.model.config) or max_length)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self.device).eval()
        self.cut: dict[int, int] = {}

    def remarks(self, texts: Sequence[str]) -> dict[str, int]:
        """Return how many of `texts`, each of them one side of pairs that were scored, were cut in a pair."""
        cut = [self.cut[hash(text)] for text in texts if hash(text) in self.cut]
        return cut_remark(len(cut), max(cut, default=0))

    def __call__(self, premises: Sequence[str], hypotheses: Sequence[str]) -> np.ndarray:
        """Return (n, 3) float64 probabilities in the order of `NLI_CLASSES`."""
        import torch

        probabilities = np.zeros((len(premises), len(NLI_CLASSES)))
        if not premises:
            return probabilities
        encoded = self.tokenizer(
            [for_encoder(text) for text in premises],
            [for_encoder(text) for text in hypotheses],
            truncation=True,
            max_length=self.max_length,
        )
        self._note_cut(premises, hypotheses, [len(ids) for ids in encoded["input_ids"]])
        for rows in self._batches([len(ids) for ids in encoded["input_ids"]]):
            inputs = self.tokenizer.pad(
                {name: [values[row] for row in rows] for name, values in encoded.items()}, return_tensors="pt"
            ).to(self.device)
            with torch.inference_mode():
                logits = self.model(**inputs).logits
            probabilities[rows] = logits.double().softmax(-1)[:, self.columns].cpu().numpy()
        return probabilities

    def _note_cut(self, premises: Sequence[str], hypotheses: Sequence[str], lengths: Sequence[int]) -> None:
        """Remember the texts of pairs that do not fit: the longer one, and both where neither leaves room."""
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True)
        for row in (row for row, length in enumerate(lengths) if length >= self.max_length):
            pair = premises[row], hypotheses[row]
            sizes = [len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) for text in pair]
            if sum(sizes) > room:
                least = min(sizes) if min(sizes) > room // 2 else max(sizes)
                cut = [text for text, size in zip(pair, sizes, strict=True) if size >= least]
                self.cut |= dict.fromkeys(map(hash, cut), self.max_length)

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Yield the rows of every batch: of like length, so that little of it is padding."""
        batch: list[int] = []
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            if len(batch) == self.batch_size or (len(batch) + 1) * lengths[row] > self.max_batch_tokens:
                if batch:
                    yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch


def _columns(id2label: dict[int, Any], model: str) -> list[int]:
    """Return the logit that each of `NLI_CLASSES` has."""
    labels = {str(label).strip().lower(): column for column, label in id2label.items()}
    if sorted(labels) != sorted(NLI_CLASSES) or len(id2label) != len(NLI_CLASSES):
        raise ModelError(
            f"The labels of {model!r} are {list(id2label.values())}, not contradiction, neutral and entailment; set "
            "id2label in its config.json to what its logits mean, or give a callable that returns the probabilities in "
            "that order."
        )
    return [int(labels[name]) for name in NLI_CLASSES]
