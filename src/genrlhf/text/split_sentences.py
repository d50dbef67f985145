"""Sentences of texts in any language."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import cast

__all__ = ["ends_sentence", "sentences"]

_ENDS = (
    r"\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0964\u0965\u0f0d\u0f0e\u104b\u1362\u1367\u1368\u166e\u1735\u1736"
    r"\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b5a\u1b5b\u1b5e\u1b5f\u1c3b\u1c3c\u1c7e\u1c7f\u3002\ua4ff\ua60e"
    r"\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe12\ufe15\ufe16\ufe52"
    r"\ufe56\ufe57\uff01\uff1f\uff61"
)
"""Marks that end a sentence in scripts other than Latin (property Sentence_Terminal of Unicode, and Tibetan shad), but
for the full-width full stop, which may stand in a number."""

_SENTENCE_END = re.compile(
    rf"(?:[{_ENDS}]|\uff0e(?![0-9\uff10-\uff19])|(?<=[\u0370-\u03ff\u1f00-\u1fff])[;\u037e](?=\s|$))"
    rf"[{_ENDS}.!?\uff0e]*[\"')\]\u00bb\u2019\u201d\u3009\u300b\u300d\u300f\u3011\u3015\uff09\uff3d\uff5d]*\s*"
)
_ENDING = re.compile(rf"[.!?{_ENDS}\uff0e]\s*\Z")


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`; a text that is blank is one sentence.

    By nltk's `PunktSentenceTokenizer` as it is before training: it ends a sentence at full stop, question mark and
    exclamation mark, knows no abbreviations, and needs no data. The marks of other scripts, such as 。 and ।, end one
    too, with a blank behind them or not.

    Example:
        >>> sentences("The cat sat. Did it sleep?")
        ['The cat sat.', 'Did it sleep?']
        >>> sentences("下雨了。你看见了吗？")
        ['下雨了。', '你看见了吗？']
    """
    found = _sentence_splitter()(text) or [text]
    return found if text.isascii() else [part for sentence in found for part in _at_other_ends(sentence)]


def ends_sentence(text: str) -> bool:
    """Say whether `text` ends in a mark that ends sentences in some script, before blanks.

    Example:
        >>> [ends_sentence(text) for text in ("Yes. ", "好。", "no")]
        [True, True, False]
    """
    return _ENDING.search(text) is not None


@functools.cache
def _sentence_splitter() -> Callable[[str], list[str]]:
    from nltk.tokenize import PunktSentenceTokenizer

    return cast(Callable[[str], list[str]], PunktSentenceTokenizer().tokenize)


def _at_other_ends(sentence: str) -> Iterator[str]:
    start = 0
    for match in _SENTENCE_END.finditer(sentence):
        yield sentence[start : match.end()].rstrip()
        start = match.end()
    if start < len(sentence):
        yield sentence[start:]
