"""Words and characters of texts in any language.

How words are counted depends on the script of each run of a text:

- where blanks stand between words (Latin, Cyrillic, Greek, Arabic, Hebrew, Devanagari, Hangul, Ethiopic, …), every
  blank-separated piece is split by nltk's `NLTKWordTokenizer` (the Penn Treebank's conventions), and the marks of other
  scripts, which nltk does not know, are words of their own as its own are;
- where they do not (Han, kana, Thai, Lao, Khmer, Myanmar, Tibetan, …), every character is a word, with the marks that
  combine with it.

Texts are compared in Unicode's composed form (NFC), "é" is one text in one code point or in two, and without marks that
nobody sees, of the direction of writing and of where a word may be broken. Case, width and other
compatibility forms stay apart. A text without a letter or digit has no words.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple, cast

from genrlhf.scripts import WITHOUT_BLANKS

__all__ = [
    "characters",
    "composed",
    "count_words",
    "first_words",
    "has_words",
    "pieces_without_stops",
    "terms",
    "words",
]

_LINKERS = "\u1039\u17d2\u1a60\u1b44\ua9c0"
"""Signs that put the next consonant below the one before: Myanmar, Khmer, Tai Tham, Balinese, Javanese."""

_TRAILING = "\u0e33\u0eb3\uff9e\uff9f\u200c\u200d"
"""What goes with the character before, though no mark: Thai and Lao AM, voicing of half-width kana, (non-)joiners."""

_NO_WIDTH = "\u200b\u2060\ufeff"
"""Blanks of no width, which say where a line may or must not break."""

_UNSEEN = re.compile("[\u00ad\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks of the direction of writing, which models set into Arabic and Hebrew as they please, and soft hyphens."""

_SEPARATORS = str.maketrans(dict.fromkeys("\u0f0b\u0f0c\u1361\u16eb\U00010100\U000103d0\U0001091f\U00012470", " "))
"""Marks that stand where others write blanks: Tibetan tsheg, Ethiopic wordspace, …"""

_INNER = frozenset("\u055a\u055b\u055c\u055e\u05be\u05f3\u05f4\u30fb\uff65")
"""Marks of other scripts that stand inside of words: Armenian, Hebrew, and the middle dot of kana."""

_SEPARATOR = re.compile(f"[{''.join(map(chr, _SEPARATORS))}]")
_WORDY = re.compile(r"[^\W_]")
_PIECE = re.compile(r"\S+")
_ASCII_TERM = re.compile(r"[a-z0-9]+")
_SIMPLE = re.compile(r"[A-Za-z0-9]+(?:[-/_][A-Za-z0-9]+)*")
_SPLIT_IN_TWO = re.compile(r"cannot|gimme|gonna|gotta|lemme|wanna", re.IGNORECASE)
"""Letters alone that nltk takes for two words."""

_LONG, _REMEMBERED = 48, 131_072
"""Pieces of more characters are not remembered, since they seldom come back; nor more pieces than these at a time."""


def composed(text: str) -> str:
    """Return `text` in Unicode's composed form (NFC) without unseen marks: texts that look the same are the same."""
    return unicodedata.normalize("NFC", text if text.isascii() else _UNSEEN.sub("", text))


def has_words(text: str) -> bool:
    """Say whether `text` has a letter or digit of any script.

    Example:
        >>> [has_words(text) for text in ("so!", "7", "...", "")]
        [True, True, False, False]
    """
    return _WORDY.search(text) is not None


def words(text: str) -> list[str]:
    """Return words and punctuation marks of `text`, in their case; none where it has no letter or digit.

    Given a whole text, nltk's tokenizer would cut off the last full stop only, and leave "end." and "end" different
    words, so every blank-separated piece is split on its own.

    Example:
        >>> words("It's over. Isn't it?")
        ['It', "'s", 'over', '.', 'Is', "n't", 'it', '?']
        >>> words("I like 日本語!")
        ['I', 'like', '日', '本', '語', '!']
    """
    if not has_words(text):
        return []
    if text.isascii():
        return list(chain.from_iterable(map(_SPLIT.__getitem__, text.split())))
    patterns = _patterns()
    pieces = _between_blanks(composed(text)).split()
    if not patterns.without_blanks.search(text):
        return list(chain.from_iterable(map(_SPLIT.__getitem__, pieces)))
    found: list[str] = []
    for piece in pieces:
        if patterns.without_blanks.search(piece):
            found += _split_mixed(piece, patterns.cut)
        else:
            found += _SPLIT[piece]
    return found


def characters(text: str) -> list[str]:
    """Return the characters of `text` as readers see them, each with its marks, without blanks.

    Near the grapheme clusters of Unicode Standard Annex #29: marks, joiners, skin tones and flags stay whole.

    Example:
        >>> characters("no é")
        ['n', 'o', 'é']
    """
    return list("".join(text.split())) if text.isascii() else _patterns().character.findall(composed(text))


def terms(text: str) -> list[str]:
    """Return the words of `text` in lower case without marks of punctuation, as measures of overlap count them.

    Runs of letters and digits, in scripts without blanks single characters. On ASCII, what the usual scorer of ROUGE
    takes for words when it does not stem.

    Example:
        >>> terms("It's Élodie, 你好.")
        ['it', 's', 'élodie', '你', '好']
    """
    if text.isascii():
        return _ASCII_TERM.findall(text.lower())
    return _patterns().term.findall(composed(text).lower())


def pieces_without_stops(text: str) -> list[str]:
    """Return what blanks separate in `text`, after full stops and line feeds are taken out.

    This is what the code released with Kirk et al. 2024 takes for words.

    Example:
        >>> pieces_without_stops("It's over. Is it?")
        ["It's", 'over', 'Is', 'it?']
    """
    return [piece for piece in text.replace(".", "").replace("\n", "").split(" ") if piece]


def count_words(text: str) -> int:
    """Return the length of `text` in words: blank-separated pieces, in scripts without blanks characters.

    Punctuation is part of the word before it, so this is less than `len(words(text))`.

    Example:
        >>> count_words("Well, yes: 你好。")
        4
    """
    if text.isascii():
        return len(text.split())
    patterns, pieces = _patterns(), _between_blanks(text).split()
    if not patterns.without_blanks.search(text):
        return len(pieces)
    return sum(len(patterns.counted.findall(piece)) if patterns.without_blanks.search(piece) else 1 for piece in pieces)


def first_words(text: str, count: int) -> str:
    """Return the start of `text` that holds so many words as `count_words` counts them, with what stands behind them.

    Example:
        >>> first_words("Well, yes: 你好。", 3)
        'Well, yes: 你'
    """
    if count <= 0:
        return ""
    ends = _ends_of_words(text)
    end = next((end for place, end in enumerate(ends, start=1) if place == count), len(text))
    return text[:end] if next(ends, None) is not None else text


class _Patterns(NamedTuple):
    """What needs the general categories of all characters, made when a text is first not ASCII.

    Attributes:
        without_blanks: a letter of a script without blanks.
        cut: such a letter with its marks, or a mark that is a word of its own beside such letters; one group.
        mark: a mark of punctuation that nltk does not know; one group.
        character: any character with its marks.
        term: a word of `terms`.
        unit: such a letter with its marks, or a run of what is neither that nor blank.
        counted: the same, but of the runs those alone that have a letter or digit, from there on.
    """

    without_blanks: re.Pattern[str]
    cut: re.Pattern[str]
    mark: re.Pattern[str]
    character: re.Pattern[str]
    term: re.Pattern[str]
    unit: re.Pattern[str]
    counted: re.Pattern[str]


@functools.cache
def _patterns() -> _Patterns:
    letters = _charset(
        number
        for blocks in WITHOUT_BLANKS.values()
        for first, last in blocks
        for number in range(first, last + 1)
        # Letters, numerals that are no digits, and what a later Unicode puts there.
        if (category := unicodedata.category(chr(number)))[0] == "L" or category in ("Nl", "Cn")
    )
    assigned = [*range(0x300, 0x1FFFF), *range(0xE0100, 0xE01F0)]
    extend = _charset(number for number in assigned if unicodedata.category(chr(number))[0] == "M") + _TRAILING
    # Those of Latin script and general punctuation are nltk's business.
    foreign = _charset(
        number
        for number in assigned
        if number >= 0x370
        and not (0x2000 <= number < 0x2070 or 0x2E00 <= number < 0x2E80)
        and chr(number) not in _INNER
        and unicodedata.category(chr(number)) in ("Po", "Ps", "Pe", "Pi", "Pf")
    )
    letter = f"[{letters}](?:[{extend}]|(?<=[{_LINKERS}])[{letters}])*"
    emoji = "\U0001f000-\U0001faff\u2190-\u2bff"
    whole = rf"[{extend}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|(?<=\u200d)[{emoji}]|(?<=[{_LINKERS}])[{letters}]"
    return _Patterns(
        without_blanks=re.compile(f"[{letters}]"),
        # nltk tells opening from closing quotes by the blanks around them.
        cut=re.compile(f'({letter}|[{foreign}"])'),
        mark=re.compile(f"([{foreign}])"),
        character=re.compile(rf"(?:[\U0001f1e6-\U0001f1ff]{{2}}|\S)(?:{whole})*"),
        term=re.compile(rf"{letter}|[^\W_{letters}](?:[^\W_{letters}]|[{extend}])*"),
        unit=re.compile(rf"{letter}|[^\s{letters}]+"),
        counted=re.compile(rf"{letter}|[^\W_{letters}][^\s{letters}]*"),
    )


def _charset(numbers: Iterable[int]) -> str:
    """Return the inside of a regular expression's set of these characters."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


@functools.cache
def _word_splitter() -> Callable[[str], list[str]]:
    from nltk.tokenize import NLTKWordTokenizer

    return cast(Callable[[str], list[str]], NLTKWordTokenizer().tokenize)


class _Remembered(dict[str, tuple[str, ...]]):
    """The words of pieces that have come before.

    Words repeat, so splitting pieces and remembering them is some thirty times faster than splitting whole texts.
    """

    def __missing__(self, piece: str) -> tuple[str, ...]:
        found = _split_piece(piece)
        if len(piece) <= _LONG:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[piece] = found
        return found


_SPLIT = _Remembered()


def _split_piece(piece: str) -> tuple[str, ...]:
    """Return the words of a piece of scripts with blanks between words."""
    # Most pieces are letters and a mark at most: the result is known without nltk, whose import takes a second.
    word, mark = (piece[:-1], piece[-1]) if piece[-1] in ".,;:!?" else (piece, "")
    if (word.isalpha() or _SIMPLE.fullmatch(word)) and not _SPLIT_IN_TWO.search(word):
        return (word, mark) if mark else (word,)
    return tuple(_word_splitter()(piece) if piece.isascii() else _split_mixed(piece, _patterns().mark))


def _split_mixed(piece: str, cut: re.Pattern[str]) -> Iterator[str]:
    """Yield single characters where `cut` finds them, and the words of what lies between."""
    parts = cut.split(piece)
    for place, part in enumerate(parts):
        if place % 2:
            yield part
        elif rest := part.strip(_NO_WIDTH) if len(parts) > 1 else part:
            yield from _SPLIT[rest] if rest.isascii() else _word_splitter()(rest)


def _between_blanks(text: str) -> str:
    """Return `text` with blanks for the marks that stand where others write blanks, at the same places."""
    return text.translate(_SEPARATORS) if _SEPARATOR.search(text) else text


def _ends_of_words(text: str) -> Iterator[int]:
    """Yield where every word ends that `count_words` counts."""
    if text.isascii():
        yield from (match.end() for match in _PIECE.finditer(text))
        return
    patterns = _patterns()
    text = _between_blanks(text)
    for piece in _PIECE.finditer(text):
        if not patterns.without_blanks.search(piece[0]):
            yield piece.end()
            continue
        end: int | None = None
        for unit in patterns.unit.finditer(text, piece.start(), piece.end()):
            # Punctuation goes with the word before it, in front of all with the one behind it.
            if end is not None and has_words(unit[0]):
                yield end
                end = unit.end()
            else:
                end = unit.end() if end is not None or has_words(unit[0]) else None
        if end is not None:
            yield end
