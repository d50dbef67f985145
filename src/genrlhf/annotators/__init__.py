"""Simulated annotators: a pool of judges labels preferences, as AlpacaFarm's does; loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.annotators.annotated import AnnotatedPair, AnnotatedPairs, Annotation
    from genrlhf.annotators.figures import AnnotationFigures, AnnotatorFigures, annotation_figures
    from genrlhf.annotators.pairs import OutputPair, pairs_from_models, pairs_from_samples, pairs_to_relabel
    from genrlhf.annotators.pool import Annotator, AnnotatorPool
    from genrlhf.annotators.pool_file import read_pool

_HOMES = {
    "AnnotatedPair": "annotated",
    "AnnotatedPairs": "annotated",
    "Annotation": "annotated",
    "AnnotationFigures": "figures",
    "Annotator": "pool",
    "AnnotatorFigures": "figures",
    "AnnotatorPool": "pool",
    "OutputPair": "pairs",
    "annotation_figures": "figures",
    "pairs_from_models": "pairs",
    "pairs_from_samples": "pairs",
    "pairs_to_relabel": "pairs",
    "read_pool": "pool_file",
}

__all__ = [
    "AnnotatedPair",
    "AnnotatedPairs",
    "Annotation",
    "AnnotationFigures",
    "Annotator",
    "AnnotatorFigures",
    "AnnotatorPool",
    "OutputPair",
    "annotation_figures",
    "pairs_from_models",
    "pairs_from_samples",
    "pairs_to_relabel",
    "read_pool",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
