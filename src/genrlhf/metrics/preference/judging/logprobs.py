"""How probable a judge's answers were."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genrlhf.metrics.preference.judging.verdicts import bare, letters_of

__all__ = ["NO_LETTER", "LogprobReader"]

NO_LETTER = "none of the letters is among its likeliest tokens"
"""Why there is no answer, where the log-probabilities say nothing of the letters."""
_LONGEST = 40
"""Characters of a token that may be a letter with something around it."""


@dataclass(frozen=True)
class LogprobReader:
    """Reads how probable the answers "the first" and "the second" were, whatever was drawn.

    With p(·) the probability of a letter, the preference is ``2 − p(first) / Σ p(letter)``: 1 where the first output is
    certainly better, 2 where it is the second. A letter's probability is the sum over the tokens that are this letter
    but for blanks, quotes and punctuation around it, and for case where the letters differ otherwise: `M`, ` M`, `▁M`
    and `"M` are one. A letter without a token among the likeliest counts as impossible; where none of them has one
    there is no verdict.

    Attributes:
        first: the letter that says that the first output is better.
        tokens: all letters that say something, `first` among them.
        binarise: 1 where `first` is more likely than each of the others, and 2 otherwise.
        position: of the letter in the answer, from its end where negative.
        exact: the tokens themselves alone count where one of them is among the likeliest, as in AlpacaEval's
            `logprob_parser`; their variants only where none is.

    Example:
        >>> read = LogprobReader("m", ("m", "M"))
        >>> read([{"m": math.log(0.2), " m": math.log(0.1), "M": math.log(0.1), "?": math.log(0.6)}])
        1.25
    """

    first: str
    tokens: tuple[str, ...]
    binarise: bool = False
    position: int = 0
    exact: bool = False

    def __call__(self, top_logprobs: Sequence[Mapping[str, float]], *, thought: bool = False) -> float | None:
        """Return the preference, None for no verdict.

        Args:
            top_logprobs: of every position of the answer, the likeliest tokens and their log-probabilities.
            thought: the answer stands behind reasoning, so that its position is not known: the last counts at which
                the letters together are likelier than all else.
        """
        if thought:
            certain = (there for there in reversed(top_logprobs) if self._mass(there) > math.log(0.5))
            return self._read(next(certain, {}))
        if not -len(top_logprobs) <= self.position < len(top_logprobs):
            return None
        return self._read(top_logprobs[self.position])

    def _mass(self, likely: Mapping[str, float]) -> float:
        return _log_sum_exp(list(self._logprobs(likely).values()))

    def _read(self, likely: Mapping[str, float]) -> float | None:
        known = self._logprobs(likely)
        if not known:
            return None
        # Relative to the likeliest, since all may be too small for a float.
        most = max(known.values())
        shares = {letter: math.exp(logprob - most) for letter, logprob in known.items()}
        first = shares.pop(self.first, 0.0)
        if self.binarise:
            return 1.0 if all(first > share for share in shares.values()) else 2.0
        return 2.0 - first / (first + sum(shares.values()))

    def _logprobs(self, likely: Mapping[str, float]) -> dict[str, float]:
        """Return the log-probability of every letter that has a token among the likeliest."""
        finite = {token: logprob for token, logprob in likely.items() if math.isfinite(logprob)}
        exact = {token: finite[token] for token in self.tokens if token in finite}
        if self.exact and exact:
            return exact
        letters = letters_of(self.tokens)
        variants: dict[str, list[float]] = {token: [logprob] for token, logprob in exact.items()}
        for token, logprob in finite.items():
            if token not in exact and len(token) <= _LONGEST and (letter := letters.get(bare(token))) is not None:
                variants.setdefault(letter, []).append(logprob)
        return {letter: _log_sum_exp(logprobs) for letter, logprobs in variants.items()}


def _log_sum_exp(values: Sequence[float]) -> float:
    most = max(values, default=-math.inf)
    if most == -math.inf:
        return most
    return most + math.log(sum(math.exp(value - most) for value in values))
