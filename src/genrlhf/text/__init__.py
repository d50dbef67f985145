"""Words and sentences of texts in any language, and ROUGE-L: once, for data and metrics."""

from __future__ import annotations

from genrlhf.text.rouge import common_subsequence, rouge_l, rouge_l_of_words
from genrlhf.text.split_sentences import ends_sentence, sentences
from genrlhf.text.split_words import (
    characters,
    composed,
    count_words,
    first_words,
    has_words,
    pieces_without_stops,
    terms,
    words,
)

__all__ = [
    "characters",
    "common_subsequence",
    "composed",
    "count_words",
    "ends_sentence",
    "first_words",
    "has_words",
    "pieces_without_stops",
    "rouge_l",
    "rouge_l_of_words",
    "sentences",
    "terms",
    "words",
]
