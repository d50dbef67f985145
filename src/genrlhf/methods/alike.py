"""Which completions of a prompt are alike: the classes and embeddings of the diversity metrics, named by a setting."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ConfigError, RewardError, excerpt
from genrlhf.metrics import EmbeddingClasses, EntailmentClasses, ExactClasses
from genrlhf.metrics.diversity.embeddings import as_embedder
from genrlhf.places import load_place

if TYPE_CHECKING:
    from genrlhf.metrics.diversity.classes import Classes
    from genrlhf.metrics.diversity.embeddings import Embedder, Encoder

    ClassesLike = Classes | str
    EncoderLike = Encoder | Embedder | str
else:
    # As the command line reads them.
    ClassesLike = EncoderLike = str

__all__ = ["CLASSES_HELP", "ClassesLike", "EncoderLike", "as_classes", "class_labels", "cosines"]

CLASSES_HELP = (
    "Which completions say the same: exact (equal but for case and blanks at the ends), embedding or embedding:MODEL "
    "(cosine of at least 0.85), entailment or entailment:MODEL (each entails the other), or package.module:NAME of "
    "sets of texts -> classes."
)

_KINDS = {"exact": ExactClasses, "embedding": EmbeddingClasses, "entailment": EntailmentClasses}


def as_classes(source: ClassesLike) -> Classes:
    """Return what divides sets of texts into classes; the same object for the same name, with its model.

    Args:
        source: an object of `genrlhf.metrics`, a function of sets of texts, or a name (see `CLASSES_HELP`).

    Raises:
        ConfigError: for what is neither.
    """
    found: Any = _named(source) if isinstance(source, str) else source
    if isinstance(found, type) or not callable(found):
        raise ConfigError(f"classes is {excerpt(source)}; give {CLASSES_HELP[0].lower()}{CLASSES_HELP[1:-1]}.")
    classes: Classes = found
    return classes


@lru_cache
def _named(source: str) -> Any:
    kind, _, model = source.partition(":")
    if kind in _KINDS and not (model and kind == "exact"):
        return _KINDS[kind](model) if model else _KINDS[kind]()
    return load_place(source, f"classes={source!r}") if model else None


def class_labels(classes: ClassesLike, groups: Sequence[Sequence[str]]) -> torch.Tensor:
    """Return the class of every completion of every prompt, (G, n) int64.

    Raises:
        RewardError: where there are other than n of each prompt.
    """
    found: Any = as_classes(classes)(groups)
    sizes = [len(labels) for labels in found]
    if sizes != [len(group) for group in groups]:
        raise RewardError(
            f"classes returned {len(sizes)} lists of {sorted(set(sizes))} classes for {len(groups)} groups of "
            f"{len(groups[0])} completions; it must return a class for each completion of each group."
        )
    numbers: dict[Any, int] = {}
    return torch.tensor([[numbers.setdefault(label, len(numbers)) for label in labels] for labels in found])


def cosines(encoder: EncoderLike, groups: Sequence[Sequence[str]]) -> torch.Tensor:
    """Return the cosines between the embeddings of the completions of every prompt, (G, n, n) float64."""
    embedder = _embedder(encoder) if isinstance(encoder, str) else as_embedder(encoder)
    units = [torch.from_numpy(unit) for unit in embedder.directions(groups)]
    return torch.stack([unit @ unit.T for unit in units])


@lru_cache
def _embedder(name: str) -> Embedder:
    place = ":" in name and not Path(name).exists()
    return as_embedder(load_place(name, f"encoder={name!r}") if place else name)
