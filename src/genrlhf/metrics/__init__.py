"""Metrics of model outputs: strings in, an `Estimate` out. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach
from genrlhf.types import Estimate

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
    from genrlhf.metrics.diversity.novelty import DistinctK, LikelihoodEntropy, SemanticEntropy, UtilityK
    from genrlhf.metrics.diversity.openai_embeddings import OpenAIEmbeddings
    from genrlhf.metrics.diversity.pairwise import PairwiseMetric
    from genrlhf.metrics.diversity.self_bleu import SelfBLEU
    from genrlhf.metrics.diversity.self_repetition import SelfRepetition
    from genrlhf.metrics.diversity.sentence_bert import SentenceBERT
    from genrlhf.metrics.diversity.tokenizers import named_tokenizer
    from genrlhf.metrics.diversity.vendi import VendiScore
    from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
    from genrlhf.metrics.paired import PairedComparison
    from genrlhf.metrics.power import (
        SamplesNeeded,
        diversity_inputs_needed,
        independent_inputs_needed,
        inputs_needed,
        shares_needed,
    )
    from genrlhf.metrics.shift import (
        Shift,
        embedding_distance,
        length_difference,
        shift_between,
        word_difference,
    )
    from genrlhf.metrics.solutions.passing import pass_at_k
    from genrlhf.metrics.token_loss import Forgetting, forgetting, forward_kl

_HOMES = {
    "CompressionRatio": "diversity.compression",
    "DistinctK": "diversity.novelty",
    "DistinctN": "diversity.distinct",
    "EAD": "diversity.ead",
    "Embedder": "diversity.embeddings",
    "EmbeddingClasses": "diversity.classes",
    "EntailmentClasses": "diversity.classes",
    "ExactClasses": "diversity.classes",
    "Forgetting": "token_loss",
    "Homogenisation": "diversity.homogenisation",
    "JudgedClasses": "diversity.classes",
    "LikelihoodEntropy": "diversity.novelty",
    "NLIDiversity": "diversity.nli",
    "NgramCosine": "diversity.ngram_cosine",
    "OpenAIEmbeddings": "diversity.openai_embeddings",
    "PairedComparison": "paired",
    "PairwiseMetric": "diversity.pairwise",
    "SamplesNeeded": "power",
    "SelfBLEU": "diversity.self_bleu",
    "SelfRepetition": "diversity.self_repetition",
    "SemanticEntropy": "diversity.novelty",
    "SentenceBERT": "diversity.sentence_bert",
    "Shift": "shift",
    "UtilityK": "diversity.novelty",
    "VendiScore": "diversity.vendi",
    "across_input_diversity": "diversity.levels",
    "compare_diversity": "diversity.compare",
    "diversity_inputs_needed": "power",
    "independent_inputs_needed": "power",
    "embedding_distance": "shift",
    "forgetting": "token_loss",
    "forward_kl": "token_loss",
    "inputs_needed": "power",
    "length_difference": "shift",
    "match_lengths": "diversity.lengths",
    "mean_estimate": "estimate",
    "named_tokenizer": "diversity.tokenizers",
    "mean_words": "diversity.lengths",
    "per_input_diversity": "diversity.levels",
    "pass_at_k": "solutions.passing",
    "pooled_diversity": "diversity.levels",
    "proportion_estimate": "estimate",
    "shares_needed": "power",
    "shift_between": "shift",
    "word_difference": "shift",
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
    "Forgetting",
    "Homogenisation",
    "JudgedClasses",
    "LikelihoodEntropy",
    "NLIDiversity",
    "NgramCosine",
    "OpenAIEmbeddings",
    "PairedComparison",
    "PairwiseMetric",
    "SamplesNeeded",
    "SelfBLEU",
    "SelfRepetition",
    "SemanticEntropy",
    "SentenceBERT",
    "Shift",
    "UtilityK",
    "VendiScore",
    "across_input_diversity",
    "compare_diversity",
    "diversity_inputs_needed",
    "embedding_distance",
    "forgetting",
    "forward_kl",
    "independent_inputs_needed",
    "inputs_needed",
    "length_difference",
    "match_lengths",
    "mean_estimate",
    "mean_words",
    "named_tokenizer",
    "pass_at_k",
    "per_input_diversity",
    "pooled_diversity",
    "proportion_estimate",
    "shares_needed",
    "shift_between",
    "word_difference",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
