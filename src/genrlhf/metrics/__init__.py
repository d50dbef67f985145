"""Metrics of model outputs: strings in, an `Estimate` out. Names are loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrlhf.metrics.diversity.classes import EmbeddingClasses, EntailmentClasses, ExactClasses, JudgedClasses
    from genrlhf.metrics.diversity.compare import compare_diversity
    from genrlhf.metrics.diversity.compression import CompressionRatio
    from genrlhf.metrics.diversity.distinct import DistinctN
    from genrlhf.metrics.diversity.ead import EAD
    from genrlhf.metrics.diversity.embeddings import Embedder
    from genrlhf.metrics.diversity.homogenisation import Homogenisation
    from genrlhf.metrics.diversity.lengths import match_lengths, mean_words
    from genrlhf.metrics.diversity.levels import across_input_diversity, per_input_diversity, pooled_diversity
    from genrlhf.metrics.diversity.ngram_cosine import NgramCosine
    from genrlhf.metrics.diversity.nli import NLIDiversity
    from genrlhf.metrics.diversity.nli_scorer import SharedScorer
    from genrlhf.metrics.diversity.novelty import DistinctK, SemanticEntropy, UtilityK
    from genrlhf.metrics.diversity.openai_embeddings import OpenAIEmbeddings
    from genrlhf.metrics.diversity.self_bleu import SelfBLEU
    from genrlhf.metrics.diversity.self_repetition import SelfRepetition
    from genrlhf.metrics.diversity.sentence_bert import SentenceBERT
    from genrlhf.metrics.diversity.vendi import VendiScore
    from genrlhf.metrics.paired import PairedComparison
    from genrlhf.types import Estimate

_HOMES = {
    "EAD": "genrlhf.metrics.diversity.ead",
    "CompressionRatio": "genrlhf.metrics.diversity.compression",
    "DistinctK": "genrlhf.metrics.diversity.novelty",
    "DistinctN": "genrlhf.metrics.diversity.distinct",
    "Embedder": "genrlhf.metrics.diversity.embeddings",
    "EmbeddingClasses": "genrlhf.metrics.diversity.classes",
    "EntailmentClasses": "genrlhf.metrics.diversity.classes",
    "Estimate": "genrlhf.types",
    "ExactClasses": "genrlhf.metrics.diversity.classes",
    "Homogenisation": "genrlhf.metrics.diversity.homogenisation",
    "JudgedClasses": "genrlhf.metrics.diversity.classes",
    "NLIDiversity": "genrlhf.metrics.diversity.nli",
    "NgramCosine": "genrlhf.metrics.diversity.ngram_cosine",
    "OpenAIEmbeddings": "genrlhf.metrics.diversity.openai_embeddings",
    "PairedComparison": "genrlhf.metrics.paired",
    "SelfBLEU": "genrlhf.metrics.diversity.self_bleu",
    "SelfRepetition": "genrlhf.metrics.diversity.self_repetition",
    "SemanticEntropy": "genrlhf.metrics.diversity.novelty",
    "SentenceBERT": "genrlhf.metrics.diversity.sentence_bert",
    "SharedScorer": "genrlhf.metrics.diversity.nli_scorer",
    "UtilityK": "genrlhf.metrics.diversity.novelty",
    "VendiScore": "genrlhf.metrics.diversity.vendi",
    "across_input_diversity": "genrlhf.metrics.diversity.levels",
    "compare_diversity": "genrlhf.metrics.diversity.compare",
    "match_lengths": "genrlhf.metrics.diversity.lengths",
    "mean_words": "genrlhf.metrics.diversity.lengths",
    "per_input_diversity": "genrlhf.metrics.diversity.levels",
    "pooled_diversity": "genrlhf.metrics.diversity.levels",
}

__all__ = [
    "EAD",
    "CompressionRatio",
    "DistinctK",
    "DistinctN",
    "Embedder",
    "EmbeddingClasses",
    "EntailmentClasses",
    "Estimate",
    "ExactClasses",
    "Homogenisation",
    "JudgedClasses",
    "NLIDiversity",
    "NgramCosine",
    "OpenAIEmbeddings",
    "PairedComparison",
    "SelfBLEU",
    "SelfRepetition",
    "SemanticEntropy",
    "SentenceBERT",
    "SharedScorer",
    "UtilityK",
    "VendiScore",
    "across_input_diversity",
    "compare_diversity",
    "match_lengths",
    "mean_words",
    "per_input_diversity",
    "pooled_diversity",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
