"""What a judge's answer says: hostile text, read as data and never run.

Every reader takes the text of an answer and returns a preference as AlpacaEval codes it, 1 for the first output, 2 for
the second, 1.5 for a tie, or None where the text says none of these. Of a long answer only the first and last 10,000
characters are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "LogprobReader",
    "VerdictReader",
    "read_letter",
    "read_patterns",
    "read_ranking",
    "read_scores",
    "read_verdict",
]

VerdictReader: TypeAlias = Callable[[str], "float | None"]
"""From the text of an answer to a preference."""

_KEPT = 10_000

# A dictionary with a model's name and its rank, in either order, in JSON's quotes or Python's.
_NAME = r"""['"]model['"]\s{0,9}:\s{0,9}['"]([^'"\n]{1,99})['"]"""
_RANK = r"""['"]rank['"]\s{0,9}:\s{0,9}['"]?(\d{1,3})['"]?"""
_BETWEEN = r"\s{0,9},\s{0,99}"
_RANKED = re.compile(
    r"\{\s{0,99}(?:" + _NAME + _BETWEEN + _RANK + "|" + _RANK + _BETWEEN + _NAME + r")\s{0,99},?\s{0,99}\}"
)
_BRACKETED = re.compile(r"\[\[\s{0,9}([ABCabc])\s{0,9}\]\]")
_NUMBER = re.compile(r"[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})")


def _bounded(text: str) -> str:
    return text if len(text) <= 2 * _KEPT else f"{text[:_KEPT]}\n{text[-_KEPT:]}"


def read_ranking(text: str, names: tuple[str, str | None] = ("model_1", "model_2")) -> float | None:
    """Read models with their ranks, as AlpacaEval's `ranking_parser` expects them, with other text around or not.

    Equal ranks are a tie. A model ranked twice, one that is missing, or a third one leaves no verdict. None for the
    second name takes any.

    Example:
        >>> read_ranking("[{'model': 'model_2', 'rank': 1}, {'model': 'model_1', 'rank': 2}]")
        2.0
    """
    found = [(a or d, int(b or c)) for a, b, c, d in _RANKED.findall(_bounded(text))]
    ranks = dict(found)
    if len(found) != 2 or len(ranks) != 2 or names[0] not in ranks or names[1] not in (None, *ranks):
        return None
    first = ranks.pop(names[0])
    (second,) = ranks.values()
    return 1.0 if first < second else 2.0 if second < first else 1.5


def read_letter(text: str, letters: tuple[str, str] = ("m", "M")) -> float | None:
    """Read an answer that is one letter, with quotes, brackets or a full stop around it or not; case matters.

    Example:
        >>> read_letter(' "M".')
        2.0
    """
    answer = _bounded(text).strip(" \t\r\n'\"`()[].:*")
    return {letters[0]: 1.0, letters[1]: 2.0}.get(answer)


def read_verdict(text: str) -> float | None:
    """Read a verdict after reasoning: the last of `[[A]]` (the first output), `[[B]]` (the second) and `[[C]]` (a tie).

    Example:
        >>> read_verdict("A is longer, B is right. [[B]]")
        2.0
    """
    found = _BRACKETED.findall(_bounded(text))
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
    """Read which of several patterns comes first, as AlpacaEval's `regex_parser` does; 0 stands for a tie.

    Example:
        >>> read_patterns("Output (b) is better", {1: re.compile("[(]a[)]"), 2: re.compile("[(]b[)]")})
        2.0
    """
    bounded = _bounded(text)
    found = [(match.start(), key) for key, pattern in patterns.items() if (match := pattern.search(bounded))]
    return (float(min(found)[1]) or 1.5) if found else None


@dataclass(frozen=True)
class LogprobReader:
    """Reads how probable the answers "the first" and "the second" were, whatever was drawn.

    With p(·) the probability of a token, the preference is ``2 − p(first) / Σ p(token)``: 1 where the first output is
    certainly better, 2 where it is the second. A token that is not among the likeliest counts as impossible; where none
    of them is there is no verdict. So does AlpacaEval's `logprob_parser`.

    Attributes:
        first: the token that says that the first output is better.
        tokens: all tokens that say something, `first` among them.
        binarise: 1 where `first` is more likely than each of the others, and 2 otherwise.
        position: of the token in the answer, from its end where negative.

    Example:
        >>> read = LogprobReader("m", ("m", "M"))
        >>> read([{"m": math.log(0.3), "M": math.log(0.1), "?": math.log(0.6)}])
        1.25
    """

    first: str
    tokens: tuple[str, ...]
    binarise: bool = False
    position: int = 0

    def __call__(self, top_logprobs: Sequence[Mapping[str, float]]) -> float | None:
        """Return the preference, None for no verdict.

        Args:
            top_logprobs: of every position of the answer, the likeliest tokens and their log-probabilities.
        """
        if not -len(top_logprobs) <= self.position < len(top_logprobs):
            return None
        there = top_logprobs[self.position]
        known = {token: there[token] for token in self.tokens if there.get(token, -math.inf) > -math.inf}
        if not known:
            return None
        most = max(known.values())
        shares = {token: math.exp(logprob - most) for token, logprob in known.items()}
        first = shares.pop(self.first, 0.0)
        if self.binarise:
            return 1.0 if all(first > share for share in shares.values()) else 2.0
        return 2.0 - first / (first + sum(shares.values()))
