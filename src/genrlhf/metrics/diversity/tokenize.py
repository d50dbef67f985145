"""Words and sentences of a text, by tokenizers of nltk's that need no downloaded data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

__all__ = ["pieces_without_stops", "sentences", "words"]


@functools.cache
def _word_splitter() -> Callable[[str], list[str]]:
    from nltk.tokenize import NLTKWordTokenizer

    return cast(Callable[[str], list[str]], NLTKWordTokenizer().tokenize)


@functools.cache
def _sentence_splitter() -> Callable[[str], list[str]]:
    from nltk.tokenize import PunktSentenceTokenizer

    return cast(Callable[[str], list[str]], PunktSentenceTokenizer().tokenize)


_SPLIT_IN_TWO = frozenset({"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"})
"""Letters alone that nltk takes for two words."""


# Words repeat, so splitting pieces and remembering them is some thirty times faster than splitting whole texts.
@functools.lru_cache(maxsize=65536)
def _split_piece(piece: str) -> tuple[str, ...]:
    # Most pieces are letters and a mark at most: the result is known without nltk, whose import takes a second.
    word, mark = (piece[:-1], piece[-1]) if piece[-1] in ".,;:!?" else (piece, "")
    if word.isalpha() and word.isascii() and word.lower() not in _SPLIT_IN_TWO:
        return (word, mark) if mark else (word,)
    return tuple(_word_splitter()(piece))


def words(text: str) -> list[str]:
    """Return words and punctuation marks of `text`, in their case.

    Every blank-separated piece is split by nltk's `NLTKWordTokenizer` (the Penn Treebank's conventions). Given a whole
    text, that tokenizer would cut off the last full stop only, and leave "end." and "end" different words.

    Example:
        >>> words("It's over. Isn't it?")
        ['It', "'s", 'over', '.', 'Is', "n't", 'it', '?']
    """
    return [word for piece in text.split() for word in _split_piece(piece)]


def pieces_without_stops(text: str) -> list[str]:
    """Return what blanks separate in `text`, after full stops and line feeds are taken out.

    This is what the code released with Kirk et al. 2024 takes for words.

    Example:
        >>> pieces_without_stops("It's over. Is it?")
        ["It's", 'over', 'Is', 'it?']
    """
    return [piece for piece in text.replace(".", "").replace("\n", "").split(" ") if piece]


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`; a text that is blank is one sentence.

    By nltk's `PunktSentenceTokenizer` as it is before training: it ends a sentence at full stop, question mark and
    exclamation mark, knows no abbreviations, and needs no data.

    Example:
        >>> sentences("The cat sat. Did it sleep?")
        ['The cat sat.', 'Did it sleep?']
    """
    return _sentence_splitter()(text) or [text]
