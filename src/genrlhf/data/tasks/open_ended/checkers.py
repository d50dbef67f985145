"""Checkers: from a text to the answer that it is, or to none; and all answers, where they can be listed."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from genrlhf.data.tasks.open_ended.wordnet import is_synset, names_below
from genrlhf.errors import DataError, excerpt
from genrlhf.places import load_place
from genrlhf.text import composed

__all__ = ["CHECKERS", "Checker", "make_checker", "normal_form"]

_OUTER = (
    " \t\r\f\v.!,;:*\"'`"
    "\u00a0\u202f\u3000\u200b\ufeff"
    "\u060c\u061b\u061f\u06d4\u0589\u05c3\u0964\u0965\u0e2f\u104a\u104b\u1362\u17d4\u17d5"
    "\u3001\u3002\u300c\u300d\u300e\u300f\uff01\uff0c\uff0e\uff1a\uff1b\uff1f\uff61"
)
"""Blanks, those of no width and of East Asian texts too, and what ends or encloses an answer in any script."""

_ARTICLES = ("a", "an", "the", "some")


class Checker(NamedTuple):
    """What decides about the answers of a family.

    Attributes:
        answer: returns the answer that a text is, in the one form that all its spellings have, or None.
        listed: yields all answers as one writes them; None where they cannot be listed.
        elsewhere: all answers come from another file than the family's settings, so that they are what is told apart.
    """

    answer: Callable[[str], str | None]
    listed: Callable[[], Iterator[str]] | None = None
    elsewhere: bool = False

    def digest(self) -> str:
        """Return what tells answers from elsewhere from others; "" where the settings say all."""
        if not self.elsewhere or self.listed is None:
            return ""
        return hashlib.sha256("\n".join(self.listed()).encode()).hexdigest()[:16]


def normal_form(text: str) -> str:
    r"""Return what is compared of a text: its first line, without outer blanks and marks, inner blanks one, lower case.

    Outer marks are `.` `!` `,` `;` `:` `*`, straight quotation marks and back quotes, and the stops, commas and corner
    brackets of other scripts. Texts that look the same are the same (Unicode's NFC; ß is SS in capitals).

    Example:
        >>> normal_form(' "New  York."\nQ: Name another one.')
        'new york'
    """
    return _bare(text).casefold()


def _bare(text: str) -> str:
    return " ".join(composed(text.split("\n", 1)[0]).strip(_OUTER).split())


def make_checker(settings: Any, where: str, words: Callable[[], frozenset[str]], *, code: bool = True) -> Checker:
    """Return the checker that a family asks for.

    Args:
        settings: a mapping with its `type`, one of `CHECKERS`, or "package.module:name"; or a function, which returns
            the answer that a text is, or None.
        where: the family, for messages.
        words: returns the English words, for checkers that need them.
        code: a name of code is taken. A file of data must not name what is called.

    Raises:
        DataError: no such type, settings that it does not take, or a name where none is taken.
    """
    if callable(settings):
        return Checker(settings)
    kind = settings.get("type") if isinstance(settings, Mapping) else settings
    if isinstance(kind, str) and ":" in kind:
        if not code:
            raise DataError(
                f"{where} names {kind!r} as its checker, and a file of data must not name code; give the family with "
                "more."
            )
        return Checker(load_place(kind, f"{where}: the checker {kind!r}"))
    if not isinstance(settings, Mapping) or kind not in CHECKERS:
        raise DataError(
            f"{where} has the checker {excerpt(settings)}; give a function, package.module:name, or a mapping whose "
            f"type is one of {', '.join(CHECKERS)}."
        )
    options = {name: value for name, value in settings.items() if name != "type"}
    if kind == "word":
        options["words"] = words
    if kind == "wordnet":
        options["where"] = where
    try:
        return CHECKERS[kind](**options)
    except (TypeError, KeyError, AttributeError, re.error) as error:
        raise DataError(f"{where}: the checker {kind!r} cannot be made of {excerpt(options)}: {error}.") from error


def _list(
    answers: Sequence[str],
    aliases: Mapping[str, str] | None = None,
    drop_article: bool = False,
    singular: bool = False,
) -> Checker:
    known = {normal_form(answer) for answer in answers}
    other = {normal_form(alias): normal_form(answer) for alias, answer in (aliases or {}).items()}

    def look(text: str) -> str | None:
        if text in known:
            return text
        return other[text] if other.get(text) in known else None

    def answer(text: str) -> str | None:
        text = normal_form(text)
        first, _, rest = text.partition(" ")
        for form in [text, *([rest] if drop_article and first in _ARTICLES and rest else [])]:
            forms = [form]
            if singular:
                forms += [form[:-1]] if form.endswith("s") else []
                forms += [form[:-2]] if form.endswith("es") else []
                forms += [f"{form[:-3]}y"] if form.endswith("ies") else []
            if found := next((one for one in map(look, forms) if one is not None), None):
                return found
        return None

    return Checker(answer, lambda: iter(answers))


_PROPERTIES: dict[str, Callable[[int], bool]] = {
    "any": lambda n: True,
    "even": lambda n: n % 2 == 0,
    "prime": lambda n: n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1)),
    "square": lambda n: math.isqrt(n) ** 2 == n,
}


def _integer(max: int, min: int = 0, property: str = "any") -> Checker:
    has = _PROPERTIES[property]

    def answer(text: str) -> str | None:
        text = normal_form(text)
        if len(text) > len(str(max)) or not re.fullmatch("0|[1-9][0-9]*", text):
            return None
        return text if min <= int(text) <= max and has(int(text)) else None

    return Checker(answer, lambda: (str(n) for n in range(min, max + 1) if has(n)))


def _regex(pattern: str, case: bool = True) -> Checker:
    compiled = re.compile(pattern, 0 if case else re.IGNORECASE)

    def answer(text: str) -> str | None:
        text = text.split("\n", 1)[0].strip(" \t\r\f\v.")
        if not compiled.fullmatch(text):
            return None
        return text if case else text.lower()

    plain = pattern.split("|")
    literal = all(part and part == re.escape(part) for part in plain)
    return Checker(answer, (lambda: iter(plain)) if literal else None)


def _word(words: Callable[[], frozenset[str]], starts_with: str = "", length: int | None = None) -> Checker:
    def fits(word: str) -> bool:
        return word.startswith(starts_with) and (length is None or len(word) == length)

    def answer(text: str) -> str | None:
        text = normal_form(text)
        return text if fits(text) and text in words() else None

    return Checker(answer, lambda: (word for word in sorted(words()) if fits(word)), elsewhere=True)


def _wordnet(
    where: str,
    synsets: str | Sequence[str],
    without: str | Sequence[str] = (),
    also: str | Sequence[str] = (),
    instances: bool = False,
    aliases: Mapping[str, str] | None = None,
    drop_article: bool = False,
    singular: bool = False,
) -> Checker:
    above, left_out, more = (
        _texts(value, what, where) for value, what in ((synsets, "synsets"), (without, "without"), (also, "also"))
    )
    if not above or not all(map(is_synset, above)):
        raise DataError(
            f"{where}: synsets of the checker 'wordnet' are {excerpt(synsets)}; give names such as animal.n.01."
        )
    below = names_below(above, list(filter(is_synset, left_out)), where, instances=instances)
    dropped = {normal_form(name) for name in left_out if not is_synset(name)}

    @functools.cache
    def answers() -> list[str]:
        by_form = {normal_form(name): name for name in [*more, *reversed(below())]}
        found = [by_form[form] for form in sorted(by_form) if form not in dropped]
        if not found:
            raise DataError(
                f"{where}: WordNet's {', '.join(above)} without {excerpt(without)} is nothing; leave less out."
            )
        return found

    # Made of the answers when the first text comes: most families of a file are never asked.
    checker = functools.cache(lambda: _list(answers(), aliases, drop_article, singular))
    return Checker(lambda text: checker().answer(text), lambda: iter(answers()), elsewhere=True)


def _texts(value: Any, what: str, where: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise DataError(f"{where}: {what} of the checker 'wordnet' is {excerpt(value)}; give a list of texts.")
    return list(texts)


def _date(months: Sequence[str], days: Sequence[int]) -> Checker:
    last = dict(zip(months, days, strict=True))

    def answer(text: str) -> str | None:
        found = re.fullmatch(r"(\S+) ([1-9]\d?)(?:st|nd|rd|th)?", _bare(text), re.ASCII)
        if not found or int(found[2]) > last.get(found[1], 0):
            return None
        return f"{found[1]} {found[2]}".lower()

    return Checker(answer, lambda: (f"{month} {day}" for month, n in last.items() for day in range(1, n + 1)))


def _card(ranks: Sequence[str], suits: Sequence[str], rank_words: Mapping[str, str] | None = None) -> Checker:
    named = {rank.lower(): rank.lower() for rank in ranks}
    named |= {word.lower(): rank.lower() for word, rank in (rank_words or {}).items()}
    known = {suit.lower() for suit in suits}

    def answer(text: str) -> str | None:
        parts = normal_form(text).removeprefix("the ").split(" ")
        if len(parts) != 3 or parts[0] not in named or parts[1] != "of" or parts[2] not in known:
            return None
        return f"{named[parts[0]]} of {parts[2]}"

    return Checker(answer, lambda: (f"{rank} of {suit}" for suit in suits for rank in ranks))


def _brackets(pairs: Sequence[str], max_length: int) -> Checker:
    closing = {pair[1]: pair[0] for pair in pairs}
    opening = set(closing.values())

    def answer(text: str) -> str | None:
        text = "".join(_bare(text).split())
        waiting: list[str] = []
        for mark in text:
            if mark in opening:
                waiting.append(mark)
            elif mark not in closing or not waiting or waiting.pop() != closing[mark]:
                return None
        return text if 1 <= len(text) <= max_length and not waiting else None

    def listed() -> Iterator[str]:
        made: list[list[str]] = [[""]]
        for half in range(1, max_length // 2 + 1):
            # A balanced string is a pair around one, and another one behind it.
            made.append(
                [
                    f"{pair[0]}{inner}{pair[1]}{rest}"
                    for inside in range(half)
                    for inner in made[inside]
                    for rest in made[half - 1 - inside]
                    for pair in pairs
                ]
            )
            yield from made[half]

    return Checker(answer, listed)


CHECKERS: dict[str, Callable[..., Checker]] = {
    "list": _list,
    "integer": _integer,
    "regex": _regex,
    "word": _word,
    "wordnet": _wordnet,
    "date": _date,
    "card": _card,
    "brackets": _brackets,
}
"""The types of checkers that a family in a file can name."""
