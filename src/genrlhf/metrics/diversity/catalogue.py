"""The diversity metrics by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from genrlhf.errors import ConfigError
from genrlhf.metrics.diversity.classes import Classes, EmbeddingClasses, EntailmentClasses, ExactClasses
from genrlhf.metrics.diversity.compression import CompressionRatio
from genrlhf.metrics.diversity.definitions import Definition
from genrlhf.metrics.diversity.distinct import DistinctN
from genrlhf.metrics.diversity.ead import EAD
from genrlhf.metrics.diversity.embeddings import Embedder
from genrlhf.metrics.diversity.homogenisation import Homogenisation
from genrlhf.metrics.diversity.ngram_cosine import NgramCosine
from genrlhf.metrics.diversity.ngrams import Tokenizer
from genrlhf.metrics.diversity.nli import NLIDiversity
from genrlhf.metrics.diversity.nli_scorer import SharedScorer
from genrlhf.metrics.diversity.novelty import DistinctK, LikelihoodEntropy, SemanticEntropy, UtilityK
from genrlhf.metrics.diversity.self_bleu import SelfBLEU
from genrlhf.metrics.diversity.self_repetition import SelfRepetition
from genrlhf.metrics.diversity.sentence_bert import SentenceBERT
from genrlhf.metrics.diversity.vendi import VendiScore
from genrlhf.text import terms, words
from genrlhf.types import DiversityMetric

__all__ = ["METRICS", "MetricOptions", "build_metrics"]


@dataclass(frozen=True)
class MetricOptions:
    """What the metrics of one run are made with; those that need a model share it.

    Attributes:
        definition: where definitions differ.
        vocab_size: of `EAD`.
        embedder: for Sentence-BERT, Vendi and classes by embedding.
        scorer: for NLI and classes by entailment.
        bert_score_model: the encoder of BERTScore.
        bert_score_layer: its layer; None for that of the bert-score package.
        nli_split: `split` of `NLIDiversity`; None for the definition's.
        max_pairs: of NLI, ROUGE-L and BERTScore, per set; "all" of them, or None for what each starts from. The others
            take all pairs.
        classes: how texts are put into classes, which metrics of these need to be told.
        threshold: of classes by embedding.
        seed: of what the metrics draw.
        tokenizer: splits texts into words for metrics that count them (see `named_tokenizer`); None for `words`, or
            what the definition says.
    """

    definition: Definition = "published"
    vocab_size: int = 50257
    embedder: Embedder = field(default_factory=Embedder)
    scorer: SharedScorer = field(default_factory=SharedScorer)
    bert_score_model: str = "distilbert/distilbert-base-uncased"
    bert_score_layer: int | None = None
    nli_split: Literal["sentences", "texts"] | None = None
    max_pairs: int | Literal["all"] | None = None
    classes: Literal["exact", "embedding", "entailment"] | None = None
    threshold: float = 0.85
    seed: int = 0
    tokenizer: Tokenizer | None = None


def _ead(options: MetricOptions, n: int | tuple[int, ...] = (1, 2, 3, 4, 5)) -> DiversityMetric:
    return EAD(options.vocab_size, n, options.tokenizer, definition=options.definition)


def _distinct(options: MetricOptions, n: int | tuple[int, ...] = (1, 2, 3, 4, 5)) -> DiversityMetric:
    return DistinctN(n, options.tokenizer, definition=options.definition)


def _nli(options: MetricOptions, variant: Literal["baseline", "neutral", "confidence"]) -> DiversityMetric:
    return NLIDiversity(
        options.scorer,
        variant=variant,
        definition=options.definition,
        split=options.nli_split,
        **_pairs(options),
    )


def _homogenisation(options: MetricOptions, measure: Literal["rouge_l", "bert_score"]) -> DiversityMetric:
    tokenize = terms if options.tokenizer in (None, words) else options.tokenizer
    model, layer = options.bert_score_model, options.bert_score_layer
    return Homogenisation(measure, model=model, layer=layer, tokenize=tokenize, **_pairs(options))


def _pairs(options: MetricOptions) -> dict[str, Any]:
    """Return what metrics that draw pairs are made with."""
    if options.max_pairs is None:
        return {"seed": options.seed}
    return {"seed": options.seed, "max_pairs": None if options.max_pairs == "all" else options.max_pairs}


def _classes(options: MetricOptions, metric: str) -> Classes:
    if options.classes is None:
        raise ConfigError(
            f"{metric} counts classes of the same meaning, and must be told what makes them: give --classes exact "
            "(equal characters), embedding (a cosine) or entailment (a classifier)."
        )
    if options.classes == "embedding":
        return EmbeddingClasses(options.embedder, threshold=options.threshold)
    return EntailmentClasses(options.scorer) if options.classes == "entailment" else ExactClasses()


METRICS: dict[str, Callable[[MetricOptions], DiversityMetric]] = {
    "ead": _ead,
    **{f"ead_{n}": lambda options, n=n: _ead(options, n) for n in range(1, 6)},  # type: ignore[misc]
    "distinct": _distinct,
    **{f"distinct_{n}": lambda options, n=n: _distinct(options, n) for n in range(1, 6)},  # type: ignore[misc]
    "ngram_cosine": lambda options: NgramCosine(tokenize=options.tokenizer, definition=options.definition),
    "self_bleu": lambda options: SelfBLEU(tokenize=options.tokenizer or words),
    "self_repetition": lambda options: SelfRepetition(tokenize=options.tokenizer or words),
    "compression_ratio": lambda options: CompressionRatio(),
    "rouge_l": lambda options: _homogenisation(options, "rouge_l"),
    "bert_score": lambda options: _homogenisation(options, "bert_score"),
    "sentence_bert": lambda options: SentenceBERT(options.embedder),
    "vendi": lambda options: VendiScore(options.embedder),
    "nli": lambda options: _nli(options, "confidence"),
    "nli_baseline": lambda options: _nli(options, "baseline"),
    "nli_neutral": lambda options: _nli(options, "neutral"),
    "distinct_k": lambda options: DistinctK(_classes(options, "distinct_k")),
    "utility_k": lambda options: UtilityK(_classes(options, "utility_k")),
    "semantic_entropy": lambda options: SemanticEntropy(_classes(options, "semantic_entropy")),
    "likelihood_entropy": lambda options: LikelihoodEntropy(_classes(options, "likelihood_entropy")),
}
"""What makes each metric."""


def build_metrics(names: list[str], options: MetricOptions) -> dict[str, DiversityMetric]:
    """Return the metrics of these names.

    Raises:
        ConfigError: for a name that none has.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ConfigError(f"There is no metric {unknown[0]!r}; the metrics are {', '.join(METRICS)}.")
    return {name: METRICS[name](options) for name in names}
