"""How far one set of inputs is from another: in their words, their length, and their embeddings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics.checks import check_texts
from genrlhf.metrics.estimate import held_within, interval, jackknife_blocks, jackknife_from_blocks
from genrlhf.text import count_words, words
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from genrlhf.metrics.diversity.embeddings import Embedder, Encoder

__all__ = [
    "MEASURES",
    "Shift",
    "embedding_distance",
    "length_difference",
    "shift_between",
    "word_difference",
    "word_shift",
]

MEASURES = {
    "words": "divergence of the words, adjusted for chance: 0 without a shift, 1 for no word in common",
    "length": "difference of lengths, in standard deviations of the logarithm of words",
    "embedding": "energy distance of the embeddings",
}
"""By what a shift is measured."""

_BLOCKS = 20
_SHUFFLES = 10
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Shift:
    """How far a second set of texts is from a first.

    Attributes:
        words: see `word_difference`; 0 without a shift, 1 for no word in common.
        length: see `length_difference`; above 0 where the second set is longer.
        embedding: see `embedding_distance`; None where no encoder was given.
    """

    words: Estimate
    length: Estimate
    embedding: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: one.to_dict() for name, one in self.measured().items()}

    def measured(self) -> dict[str, Estimate]:
        """Return the figures that there are, by name."""
        found = {"words": self.words, "length": self.length}
        return found if self.embedding is None else {**found, "embedding": self.embedding}


def shift_between(
    first: Iterable[str],
    second: Iterable[str],
    *,
    encoder: str | Encoder | Embedder | None = None,
    max_embedded: int = 2000,
    seed: int = 0,
) -> Shift:
    """Return how far `second` is from `first`, with intervals over the texts of both.

    Args:
        first: texts, such as prompts in distribution.
        second: texts.
        encoder: what embeds them (see `Embedder`); None leaves the embeddings out.
        max_embedded: of a larger set so many are embedded, drawn at random.
        seed: of that draw, and of the shuffles of `word_difference`.

    Raises:
        DataError: a set has fewer than two texts, or no words.

    Example:
        >>> inside = ["Name a bird.", "Name a fish.", "Name a tree."]
        >>> found = shift_between(inside, ["Summarise the news of today.", "What was in the news today?"])
        >>> found.length.value > 0, found.embedding
        (True, None)
    """
    sides = _two_or_more(first, second)
    distance = None
    if encoder is not None:
        if max_embedded < 2:
            raise ConfigError(f"max_embedded is {max_embedded}; give at least 2, such as 2000.")
        generator = np.random.default_rng(seed)
        some, others = (_drawn(side, max_embedded, generator) for side in sides)
        distance = embedding_distance(some, others, encoder)
    return Shift(word_difference(*sides, seed=seed), length_difference(*sides), distance)


def word_shift(first: Iterable[str], second: Iterable[str]) -> float:
    """Return how far apart the words of two sets of inputs are: the Jensen–Shannon divergence in bits, in [0, 1].

    With p and q the frequencies of words (lower case, as `genrlhf.text` splits them) and m their
    mean, ``½ KL(p ‖ m) + ½ KL(q ‖ m)`` (Lin 1991, "Divergence measures based on the Shannon entropy"). Small sets are
    apart by chance alone: `word_difference` takes that out, and has an interval.

    Args:
        first: texts.
        second: texts.

    Raises:
        DataError: a set holds no words.

    Example:
        >>> word_shift(["a b"], ["c d"]), word_shift(["a b"], ["b a"]), round(word_shift(["a a"], ["a b"]), 4)
        (1.0, 0.0, 0.3113)
    """
    counts = _word_counts(check_texts(first, "first"), check_texts(second, "second"))
    return _divergence(*(_summed(each) for each in counts))


def word_difference(first: Iterable[str], second: Iterable[str], *, seed: int = 0) -> Estimate:
    """Return the Jensen–Shannon divergence of the words of two sets, adjusted for chance.

    The divergence J is the mutual information of a word and the set that it is in, and any two small sets share few of
    their rare words: without a shift it is far above 0. As Vinh, Epps & Bailey 2010, "Information Theoretic Measures
    for Clusterings Comparison", adjust such measures, with J₀ its mean over shuffles of the texts between both sets::

        (J − J₀) / (1 − J₀)

    It is 0 on average where there is no shift, whatever the sizes, and 1 where no word is in both. A large shift of
    small sets with many rare words is overstated; compare sets of like sizes.

    Args:
        first: two texts or more.
        second: likewise.
        seed: of the shuffles.

    Returns:
        With the interval of a jackknife over the texts of both sets, of what sets of these sizes have on average. It is
        wider than it need be where there is hardly a shift. `n` counts all texts.

    Raises:
        DataError: a set has fewer than two texts, or no words.

    Example:
        >>> print(f"{word_difference(['a b'] * 20, ['c d'] * 20).value:.3f}")
        1.000
    """
    sides = _two_or_more(first, second)
    counts = _word_counts(*sides)
    sums = [_summed(each) for each in counts]
    chance = _by_chance(counts, seed)
    found = _divergence(*sums)
    scale = 1.0 - chance
    if scale <= 0:  # not even shuffled texts have a word in common
        return Estimate(math.nan, math.nan, (math.nan, math.nan), len(sides[0]) + len(sides[1]), np.zeros(0))

    def left(side: int, block: list[int]) -> float:
        rest = sums[side] - _summed(counts[side][block])
        if not rest.sum():
            return math.nan
        return (_divergence(*(rest, sums[1]) if side == 0 else (sums[0], rest)) - chance) / scale

    blocks = [jackknife_blocks(len(side), _BLOCKS) for side in sides]
    without = [[left(side, block) for block in blocks[side]] for side in (0, 1)]
    # The least that J can be is 0.
    return held_within(_two_sets((found - chance) / scale, without, blocks), (-chance / scale, 1.0))


def length_difference(first: Iterable[str], second: Iterable[str]) -> Estimate:
    """Return the standardised difference of the lengths of two sets, in words: above 0 where the second is longer.

    With m and s² mean and variance of log(1 + words), lengths of texts being near to log-normal (Williams 1940, "A Note
    on the Statistical Analysis of Sentence-Length"), it is Cohen's d with the mean of both variances (Cohen 1988,
    "Statistical Power Analysis for the Behavioral Sciences", equation 2.3.2)::

        d = (m₂ − m₁) / √((s₁² + s₂²) / 2)

    Words are those of `count_words`: what blanks separate, in scripts without blanks characters.

    Args:
        first: two texts or more.
        second: likewise.

    Returns:
        With the interval of a jackknife over the texts of both sets. Where neither set has texts of different
        lengths, d is 0 if those are equal, and NaN otherwise.

    Raises:
        DataError: a set has fewer than two texts.

    Example:
        >>> print(length_difference(["a b", "a b c"] * 5, ["a b c d", "a b c d e"] * 5))
        3.609 [2.598, 4.621]
    """
    sides = [np.log1p([count_words(text) for text in side]) for side in _two_or_more(first, second)]
    moments = [(side.mean(), side.var(ddof=1)) for side in sides]
    value = float(_standardised(*moments[0], *moments[1]))
    if not math.isfinite(value) or not any(variance for _, variance in moments):
        return Estimate(value, math.nan, (math.nan, math.nan), sum(map(len, sides)), np.zeros(0))
    lefts = [_moments_without(side) for side in sides]
    without = _standardised(*lefts[0], *moments[1]), _standardised(*moments[0], *lefts[1])
    return _two_sets(value, without, [[[row] for row in range(len(side))] for side in sides])


def embedding_distance(first: Iterable[str], second: Iterable[str], encoder: str | Encoder | Embedder) -> Estimate:
    """Return the energy distance of the embeddings of two sets, scaled to length 1.

    Székely & Rizzo 2013, "Energy statistics: A class of statistics based on distances", equation 5.1, which is 0 for
    equal distributions alone, and needs no bandwidth::

        2 E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖

    Means are over pairs of different texts, so that the estimate is unbiased whatever the sizes; without a shift it is
    as often below 0 as above.

    Args:
        first: two texts or more.
        second: likewise.
        encoder: what embeds them, see `Embedder`.

    Returns:
        With the interval of a jackknife over the texts of both sets, which is wide where there is hardly a shift. Texts
        cut by the encoder are compared by their starts.

    Raises:
        DataError: a set has fewer than two texts.

    Example:
        >>> import numpy as np
        >>> places = {"a": [1.0, 0.0], "b": [0.0, 1.0]}
        >>> encode = lambda texts: np.array([places[text] for text in texts])
        >>> print(f"{embedding_distance(['a'] * 3, ['b'] * 3, encode).value:.3f}")  # 2 √2
        2.828
    """
    from genrlhf.metrics.diversity.embeddings import as_embedder

    sides = as_embedder(encoder).directions(_two_or_more(first, second))
    n, m = map(len, sides)
    across = _distances(sides[0], sides[1]), _distances(sides[1], sides[0])
    within = [_distances(side, side) for side in sides]
    sums = across[0].sum(), within[0].sum(), within[1].sum()

    def energy(n: int, m: int, between: Any, inside: Any, outside: Any) -> Any:
        pairs = max(n * (n - 1), 1), max(m * (m - 1), 1)
        return 2 * between / (n * m) - inside / pairs[0] - outside / pairs[1]

    value = float(energy(n, m, *sums))
    if min(n, m) < 3:
        return Estimate(value, math.nan, (math.nan, math.nan), n + m, np.zeros(0))
    without = (
        energy(n - 1, m, sums[0] - across[0], sums[1] - 2 * within[0], sums[2]),
        energy(n, m - 1, sums[0] - across[1], sums[1], sums[2] - 2 * within[1]),
    )
    found = _two_sets(value, without, [[[row] for row in range(len(side))] for side in sides])
    return held_within(found, (0.0, 4.0))


def _two_sets(value: float, without: Any, blocks: Sequence[Sequence[Sequence[int]]]) -> Estimate:
    """Return a figure of two independent sets with the errors that leaving texts out of either shows.

    The variances of the two jackknives (see `jackknife_from_blocks`) add up, and so do the squares of their arms, each
    Student's (Zou & Donner 2008, "Construction of confidence limits about effect measures").

    Args:
        value: of both sets.
        without: for either set, the figure without each of its blocks.
        blocks: of either set.
    """
    sides = [jackknife_from_blocks(value, *each) for each in zip(without, blocks, strict=True)]
    arms = [value - interval(value, side.stderr, len(side.values) - 1)[0] for side in sides]
    # Where no text of either set makes a difference, they do not tell how far off the figure may be.
    arm = math.hypot(*arms) or math.nan
    stderr = math.hypot(*(side.stderr for side in sides))
    return Estimate(value, stderr, (value - arm, value + arm), sum(side.n for side in sides), np.zeros(0))


def _drawn(texts: list[str], most: int, generator: np.random.Generator) -> list[str]:
    if len(texts) <= most:
        return texts
    return [texts[place] for place in sorted(generator.choice(len(texts), most, replace=False))]


def _two_or_more(first: Iterable[str], second: Iterable[str]) -> tuple[list[str], list[str]]:
    sides = check_texts(first, "first"), check_texts(second, "second")
    for name, side in zip(("first", "second"), sides, strict=True):
        if len(side) < 2:
            raise DataError(f"{name} has {len(side)} text(s); a shift is between sets of two or more.")
    return sides


def _word_counts(first: Sequence[str], second: Sequence[str]) -> list[csr_matrix]:
    """Return how often every text of either set has each word of both, (texts, words)."""
    from scipy.sparse import csr_matrix

    places: dict[str, int] = {}
    found = []
    for name, texts in (("first", first), ("second", second)):
        counters = [Counter(word.lower() for word in words(text)) for text in texts]
        if not any(counters):
            raise DataError(f"{name} holds no words; give at least one text.")
        columns = [places.setdefault(word, len(places)) for counter in counters for word in counter]
        numbers = [float(number) for counter in counters for number in counter.values()]
        found.append((numbers, columns, np.cumsum([0, *map(len, counters)])))
    return [csr_matrix(each, shape=(len(each[2]) - 1, len(places))) for each in found]


def _summed(counts: csr_matrix) -> np.ndarray:
    return np.asarray(counts.sum(axis=0)).reshape(-1)


def _divergence(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Jensen–Shannon divergence of two tables of counts, (words,) each, in bits."""
    p, q = first / first.sum(), second / second.sum()
    m = (p + q) / 2
    terms = sum(float((share[share > 0] * np.log2(share[share > 0] / m[share > 0])).sum()) for share in (p, q))
    return min(1.0, max(0.0, terms / 2))


def _by_chance(counts: Sequence[csr_matrix], seed: int) -> float:
    """Return the mean divergence of the same texts, dealt to sets of the same sizes at random."""
    from scipy.sparse import vstack

    every = vstack(counts).tocsr()
    total, n = _summed(every), counts[0].shape[0]
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(_SHUFFLES):
        chosen = np.zeros(every.shape[0])
        chosen[generator.permutation(len(chosen))[:n]] = 1.0
        side = every.T @ chosen
        if side.sum() and (total - side).sum():
            found.append(_divergence(side, total - side))
    return float(np.mean(found)) if found else 0.0


def _standardised(mean: Any, variance: Any, other_mean: Any, other_variance: Any) -> Any:
    difference, spread = np.subtract(other_mean, mean), np.sqrt((np.asarray(variance) + other_variance) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, difference / spread, np.where(difference == 0, 0.0, math.nan))


def _moments_without(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of values without each of them in turn."""
    n = len(values)
    away = values - values.mean()
    means = values.mean() - away / (n - 1)
    squares = np.maximum((away**2).sum() - away**2 * n / (n - 1), 0.0)
    return means, squares / (n - 2) if n > 2 else np.full(n, math.nan)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return of every row of `first` the sum of its distances to all rows of `second`."""
    squares = (second**2).sum(axis=1)
    sums = []
    for start in range(0, len(first), _ROWS_AT_ONCE):
        rows = first[start : start + _ROWS_AT_ONCE]
        between = (rows**2).sum(axis=1)[:, None] + squares - 2 * rows @ second.T
        if first is second:
            # Rounding would put a text at a distance from itself.
            between[np.arange(len(rows)), start + np.arange(len(rows))] = 0.0
        sums.append(np.sqrt(np.maximum(between, 0.0)).sum(axis=1))
    return np.concatenate(sums)
