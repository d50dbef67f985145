"""What a judge's answer says: hostile text, read as data and never run.

Every reader takes the text of an answer and returns a preference as AlpacaEval codes it, 1 for the first output, 2 for
the second, 1.5 for a tie, or None where the text says none of these, or several. Of a long answer only the first and
last 10,000 characters are read.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

__all__ = [
    "VerdictReader",
    "bare",
    "letters_of",
    "read_choice",
    "read_letter",
    "read_patterns",
    "read_ranking",
    "read_scores",
    "read_verdict",
]

VerdictReader: TypeAlias = Callable[[str], "float | None"]
"""From the text of an answer to a preference."""

_KEPT = 10_000

_TRIES = 200
"""Brackets of a text at which an object of JSON may begin."""

# An object without another inside, as Python writes it.
_OPENING = re.compile(r"[\[{]")
_OBJECT = re.compile(r"\{[^{}]{1,2000}\}")
_NAME = re.compile(r"""['"]model['"]\s{0,9}:\s{0,9}['"]([^'"\n]{1,99})['"]""")
_RANK = re.compile(r"""['"]rank['"]\s{0,9}:\s{0,9}(['"]?[^,}\n]{1,20})""")
_BETTER = re.compile(r"""['"]better['"]\s{0,9}:\s{0,9}['"]([^'"\n]{1,99})['"]""")
_ORDINAL = re.compile(r"\s{0,9}#?(\d{1,3}(?:\.\d{1,9})?)(?:st|nd|rd|th|\.)?\s{0,9}", re.IGNORECASE)
_BRACKETED = re.compile(r"""\\?\[\\?\[[\s*_'"`]{0,9}([ABC])[\s*_'"`]{0,9}\\?\]\\?\]""", re.IGNORECASE)
_LABELLED = re.compile(r"([^:=]{1,60})[:=](.{1,60})")
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]{1,9})\}")
_GLM_BOX = re.compile(r"<\|begin_of_box\|>([^<>]{1,9})<\|end_of_box\|>")
_NUMBER = re.compile(r"[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})")
_SQUARE = str.maketrans("【】", "[]")
_WORD_STARTS = "ĠĊ▁"
"""How byte-level and SentencePiece vocabularies write a blank or a line's end, for servers that send raw tokens."""


def _bounded(text: str) -> str:
    return text if len(text) <= 2 * _KEPT else f"{text[:_KEPT]}\n{text[-_KEPT:]}"


def _plain(text: str) -> str:
    """Return the text with letters and brackets of full width, as Chinese and Japanese have them, as plain ones."""
    return unicodedata.normalize("NFKC", text).translate(_SQUARE)


def bare(text: str) -> str:
    """Return a text without what may stand around a letter: blanks, quotes, brackets, marks and punctuation.

    Example:
        >>> bare(' "M".')
        'M'
    """
    text = _plain(text.lstrip(_WORD_STARTS))
    start, end = 0, len(text)
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum():
        end -= 1
    return text[start:end]


def letters_of(tokens: tuple[str, ...]) -> Mapping[str, str]:
    """Return what a bare text has to be to stand for one of several tokens, in either case where that can be told.

    Example:
        >>> letters_of(("A", "B"))["a"], letters_of(("m", "M"))["m"]
        ('A', 'm')
    """
    forms = {bare(token): token for token in tokens}
    if "" in forms or len(forms) < len(tokens):
        return {}
    either = {change(form): token for form, token in forms.items() for change in (str.lower, str.upper)}
    distinct = len({form.casefold() for form in forms}) == len(forms)
    return {**either, **forms} if distinct else forms


def read_letter(text: str, letters: tuple[str, str] = ("m", "M")) -> float | None:
    """Read an answer that is one letter, alone on its first or last line, or there behind a word and a colon.

    Blanks, quotes, brackets and marks around it mean nothing. Where both letters are the same but for case, as by
    default, case matters.

    Example:
        >>> read_letter(' "M".'), read_letter("Answer: m"), read_letter("m or M")
        (2.0, 1.0, None)
    """
    known = letters_of(letters)
    lines = [line for line in _bounded(text).splitlines() if line.strip() and not line.lstrip().startswith("```")]
    ends = lines[:1] + lines[-1:]
    found = {letter for line in ends if (letter := known.get(_letter_on(line, known))) is not None}
    return {letters[0]: 1.0, letters[1]: 2.0}[found.pop()] if len(found) == 1 else None


def _letter_on(line: str, known: Mapping[str, str]) -> str:
    line = _plain(line[:200])
    if boxed := _BOXED.findall(line) or _GLM_BOX.findall(line):
        return bare(boxed[0]) if len(boxed) == 1 else ""
    labelled = _LABELLED.fullmatch(line.strip())
    # "model_1: m" and "m: M" may mean anything.
    if labelled and not any(char.isdigit() for char in labelled[1]) and bare(labelled[1]) not in known:
        return bare(labelled[2])
    return bare(line)


def read_ranking(text: str, names: tuple[str, str | None] = ("model_1", "model_2")) -> float | None:
    """Read models with their ranks, as AlpacaEval's `ranking_parser` expects them, with other text around or not.

    The two are JSON, or what Python writes, in either order, with further fields or not; ranks may be texts and have
    decimals. Equal ranks are a tie. A model ranked twice, one that is missing, or a third one leaves no verdict. None
    for the second name takes any.

    Example:
        >>> read_ranking("[{'model': 'model_2', 'rank': 1}, {'model': 'model_1', 'rank': 2}]")
        2.0
    """
    found = [(name, _rank(rank)) for name, rank in _entries(text)]
    if len(found) != 2:
        return None
    if names[1] is not None and {name for name, _ in found} != set(names):
        known = {_folded(name): name for name in names if name is not None}
        found = [(known.get(_folded(name), name), rank) for name, rank in found]
    ranks = dict(found)
    if len(ranks) != 2 or names[0] not in ranks or names[1] not in (None, *ranks):
        return None
    first = ranks.pop(names[0])
    (second,) = ranks.values()
    if first is None or second is None:
        return None
    return 1.0 if first < second else 2.0 if second < first else 1.5


def _entries(text: str) -> Iterator[tuple[str, Any]]:
    """Yield name and rank of every object that names a model."""
    for found in _objects(text):
        if isinstance(found, str):
            names, ranks = _NAME.findall(found), _RANK.findall(found)
            if names:
                yield names[0], ranks[0] if len(names) == len(ranks) == 1 else None
        elif isinstance(found.get("model"), str):
            yield found["model"], found.get("rank")


def _objects(text: str) -> Iterator[dict[str, Any] | str]:
    """Yield the fields of every object of JSON in a text, inner ones too, and the text of what Python would write."""
    text = _bounded(text)
    start, tries = 0, 0
    rest: list[str] = []
    while tries < _TRIES and (opening := _OPENING.search(text, start)):
        tries += 1
        try:
            tree, end = _DECODER.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            rest.append(text[start : opening.end()])
            start = opening.end()
            continue
        rest.append(text[start : opening.start()])
        start = end
        yield from _inner(tree)
    yield from _OBJECT.findall("".join([*rest, text[start:]]))


def _inner(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += reversed(found)
        elif isinstance(found, dict):
            yield found
            waiting += reversed(list(found.values()))


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of an object; where one of them is there twice it says nothing, in words of no reader."""
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else {"model": "", "better": ""}


_DECODER = json.JSONDecoder(object_pairs_hook=_fields)


def _rank(value: Any) -> float | None:
    if isinstance(value, str):
        # Quotes and the blanks around them are Python's, where it was no JSON.
        number = _ORDINAL.fullmatch(value.strip(" \t\r\n'\"]"))
        return float(number[1]) if number else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1000:
        return None
    return float(value)


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "_", _plain(name[:200]).strip().casefold())


def read_choice(text: str, names: tuple[str, str] = ("model_1", "model_2")) -> float | None:
    """Read which output an object says is `better`, by name, and any other word of the schema for a tie.

    Example:
        >>> read_choice('{"better": "model_2"}'), read_choice('{"better": "neither"}')
        (2.0, 1.5)
    """
    said: list[Any] = []
    for found in _objects(text):
        said += _BETTER.findall(found) if isinstance(found, str) else [found["better"]] if "better" in found else []
    if len(said) != 1 or not isinstance(said[0], str):
        return None
    verdicts = {_folded(names[0]): 1.0, _folded(names[1]): 2.0, "neither": 1.5, "tie": 1.5}
    return verdicts.get(_folded(said[0]))


def read_verdict(text: str) -> float | None:
    """Read a verdict after reasoning: the last of `[[A]]` (the first output), `[[B]]` (the second) and `[[C]]` (a tie).

    Where some stand on a line of their own, as is asked for, the last of these counts.

    Example:
        >>> read_verdict("A is longer, B is right. [[B]]")
        2.0
    """
    lines = _plain(_bounded(text)).splitlines()
    alone = [line for line in lines if bare(line[:200]).upper() in ("A", "B", "C")]
    found = _BRACKETED.findall("\n".join(alone)) or _BRACKETED.findall("\n".join(lines))
    return {"A": 1.0, "B": 2.0, "C": 1.5}[found[-1].upper()] if found else None


def read_scores(text: str) -> float | None:
    """Read a score of each output on the first line, the higher the better, as AlpacaEval's `lmsys_parser` does.

    Example:
        >>> read_scores("7 9.5" + chr(10) + "The second answer is more complete.")
        2.0
    """
    parts = _bounded(text).split("\n", 1)[0].replace(",", " ").split()
    if len(parts) != 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    first, second = map(float, parts)
    return 1.0 if first > second else 2.0 if second > first else 1.5


def read_patterns(text: str, patterns: Mapping[float, re.Pattern[str]]) -> float | None:
    """Read which of several patterns is in the text, as AlpacaEval's `regex_parser` does; 0 stands for a tie.

    One match is expected, of one pattern: where another follows behind it, of the same or of another, there is no
    verdict. Of two that begin at the same place the earlier in `patterns` is the match.

    Example:
        >>> patterns = {1: re.compile("[(]a[)]"), 2: re.compile("[(]b[)]")}
        >>> read_patterns("Output (b) is better", patterns), read_patterns("(b), not (a)", patterns)
        (2.0, None)
    """
    bounded = _bounded(text)
    found = [(match, key) for key, pattern in patterns.items() if (match := pattern.search(bounded))]
    if not found:
        return None
    match, key = min(found, key=lambda one: one[0].start())
    # Searched as a text of its own, as there: a pattern with ^ matches at its start.
    rest = bounded[match.end() :]
    if any(pattern.search(rest) for pattern in patterns.values()):
        return None
    return float(key) or 1.5
