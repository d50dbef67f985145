"""Words and phrases that a model uses more often than people do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.checks import check_outputs, check_texts
from genrlhf.metrics.diversity.ngrams import Tokenizer, check_orders
from genrlhf.metrics.estimate import interval
from genrlhf.text import has_words, words

__all__ = ["OverUsedPhrase", "over_used_phrases"]


@dataclass(frozen=True)
class OverUsedPhrase:
    """A phrase with how much more often a model uses it than the references do.

    Attributes:
        phrase: its words in lower case, with blanks between them.
        ratio: ρ = f_model / f_human.
        ci: its 95 % interval.
        count: how often the outputs have it.
        inputs: of how many inputs the outputs have it.
        reference_count: how often the references have it.
    """

    phrase: str
    ratio: float
    ci: tuple[float, float]
    count: int
    inputs: int
    reference_count: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "phrase": self.phrase,
            "ratio": self.ratio,
            "ci": list(self.ci),
            "count": self.count,
            "inputs": self.inputs,
            "reference_count": self.reference_count,
        }


def over_used_phrases(
    outputs: Sequence[Sequence[str]],
    references: Sequence[str],
    *,
    n: int | Sequence[int] = (1, 2, 3),
    min_inputs: int = 3,
    top: int | None = 100,
    tokenize: Tokenizer = words,
) -> dict[int, list[OverUsedPhrase]]:
    """Return, by order, the n-grams that outputs have more often than references, the surest first.

    After Paech et al. 2025, "Antislop: A Comprehensive Framework for Identifying and Eliminating Repetitive Patterns in
    Language Models". A phrase that is a of the A n-grams of the outputs, and b of the B of the references, has::

        ρ = (a / A) / (b / B)
        log ρ ± t √(v_model + v_human),    log ρ with ½ added to a, A, b and B

    ½ makes it finite for what references never have, of which ρ itself is that with ½ added too (Walter 1975, "The
    Distribution of Levin's Measure of Attributable Risk"). A phrase comes in bursts: inputs, and references, are the
    units, and v = n/(n − 1) Σ_i (a_i/a − A_i/A)² over them (linearised ratio), but never below 1/(a + ½) − 1/(A + ½),
    that of independent words. t is Student's with one degree of freedom less than the fewer of inputs and references.
    They are ordered by the lower end, so that a rare phrase is not first for one chance use.

    The intervals are of one phrase each: of thousands that are not over-used, one in forty has a lower end above 1.

    Args:
        outputs: one list per input.
        references: texts of people, not necessarily of the same inputs.
        n: orders of n-grams; none spans a mark between words.
        min_inputs: leave out phrases that the outputs of fewer inputs have.
        top: so many of every order; None for all.
        tokenize: splits a text into words, which are compared in lower case; by default those of any script (see
            `genrlhf.text`).

    Raises:
        DataError: outputs or references have no words at all.

    Example:
        >>> outputs = [["a vibrant tapestry"], ["the vibrant city"], ["so vibrant"]]
        >>> found = over_used_phrases(outputs, ["the city", "a vibrant old town", "so it goes"], n=1)
        >>> print(found[1][0].phrase, round(found[1][0].ratio, 3))  # (3/8) / (1/9)
        vibrant 3.375
    """
    orders = check_orders(n)
    if min_inputs < 1 or (top is not None and top < 1):
        raise ConfigError(f"min_inputs is {min_inputs} and top {top}; give at least 1 of each.")
    ours = [[_pieces(text, tokenize) for text in texts] for texts in check_outputs(outputs)]
    theirs = [[_pieces(text, tokenize)] for text in check_texts(references, "references")]
    found = {}
    for order in orders:
        model, human = _Counts(ours, order), _Counts(theirs, order)
        for counts, what in ((model, "outputs"), (human, "references")):
            if not counts.total and order == min(orders):
                raise DataError(f"The {what} have no {order}-grams of words; give texts with words.")
        phrases = [
            _compare(phrase, model, human)
            for phrase, inputs in model.units_of.items()
            if len(inputs) >= min_inputs and human.total
        ]
        phrases.sort(key=lambda each: (-each.ci[0], -each.ratio, each.phrase))
        found[order] = phrases[:top]
    return found


def _pieces(text: str, tokenize: Tokenizer) -> list[list[str]]:
    """Return the runs of words of a text that no mark interrupts."""
    runs: list[list[str]] = [[]]
    for word in tokenize(text):
        if has_words(word):
            runs[-1].append(word.casefold())
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


class _Counts:
    """How often units (the outputs of an input, a reference) have every n-gram.

    Attributes:
        sizes: (units,) float64, n-grams of every unit.
        total: of all.
        square: the sum of the squared shares of the units.
        units_of: of every n-gram, how often each unit has it that does.
    """

    def __init__(self, units: Sequence[Sequence[list[list[str]]]], order: int) -> None:
        self.units_of: dict[str, dict[int, int]] = {}
        sizes = []
        for number, texts in enumerate(units):
            counted = Counter(_ngrams(texts, order))
            sizes.append(counted.total())
            for phrase, count in counted.items():
                self.units_of.setdefault(phrase, {})[number] = count
        self.sizes = np.array(sizes, dtype=np.float64)
        self.total = float(self.sizes.sum())
        self.square = float(((self.sizes / max(self.total, 1.0)) ** 2).sum())

    def count(self, phrase: str) -> int:
        """Return how often all units have a phrase."""
        return sum(self.units_of.get(phrase, {}).values())

    def variance(self, phrase: str) -> float:
        """Return v, of the logarithm of how frequent a phrase is."""
        count, units = self.count(phrase), len(self.sizes)
        least = max(0.0, 1 / (count + 0.5) - 1 / (self.total + 0.5))
        if not count or units < 2:
            return least
        # Units that do not have the phrase move it by their share of the n-grams alone.
        having = self.units_of[phrase]
        shares = self.sizes[list(having)] / self.total
        moves = np.array(list(having.values())) / count - shares
        squares = max(0.0, self.square + float((moves**2 - shares**2).sum()))
        return max(least, units / (units - 1) * squares)


def _ngrams(texts: Sequence[list[list[str]]], order: int) -> Iterator[str]:
    for runs in texts:
        for run in runs:
            for start in range(len(run) - order + 1):
                yield " ".join(run[start : start + order])


def _compare(phrase: str, model: _Counts, human: _Counts) -> OverUsedPhrase:
    a, b = model.count(phrase), human.count(phrase)
    smoothed = math.log((a + 0.5) / (model.total + 0.5)) - math.log((b + 0.5) / (human.total + 0.5))
    ratio = (a / model.total) / (b / human.total) if b else math.exp(smoothed)
    stderr = math.sqrt(model.variance(phrase) + human.variance(phrase))
    df = min(len(model.sizes), len(human.sizes)) - 1
    low, high = interval(smoothed, stderr, df) if df > 0 else (math.nan, math.nan)
    return OverUsedPhrase(phrase, ratio, (math.exp(low), math.exp(high)), a, len(model.units_of[phrase]), b)
