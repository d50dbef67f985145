"""Populations with a known truth, each a function of a generator and a number of units.

What they return goes to the library's public functions; see `coverage.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

__all__ = ["LENGTHS", "MEANS", "SHARES", "TEXTS", "Draw", "Texts", "judged_lengths"]

Generator: TypeAlias = np.random.Generator
Draw: TypeAlias = Callable[[Generator, int], tuple[np.ndarray, float]]
"""`(generator, n) -> (values (n,), their mean in the population)`."""
Texts: TypeAlias = Callable[[Generator, int, int], list[list[str]]]
"""`(generator, inputs, outputs of an input) -> texts`; there is no truth but their expected value."""


def _mostly(at: float, share: float, other: Callable[[Generator, int], np.ndarray], mean: float) -> Draw:
    def draw(generator: Generator, n: int) -> tuple[np.ndarray, float]:
        return np.where(generator.random(n) < share, at, other(generator, n)), share * at + (1 - share) * mean

    return draw


MEANS: dict[str, Draw] = {
    "normal": lambda g, n: (g.normal(0.5, 0.1, n), 0.5),
    "heavy tails (t, 3 df)": lambda g, n: (g.standard_t(3, n), 0.0),
    "skewed (exponential)": lambda g, n: (g.exponential(1, n), 1.0),
    "very skewed (gamma ½)": lambda g, n: (g.gamma(0.5, 1, n), 0.5),
    "very skewed, heavy (log-normal)": lambda g, n: (g.lognormal(0, 1, n), float(np.exp(0.5))),
    "in [0, 1] (beta 2, 5)": lambda g, n: (g.beta(2, 5, n), 2 / 7),
    "near 0 (beta 0.3, 3)": lambda g, n: (g.beta(0.3, 3, n), 0.3 / 3.3),
    "narrow near 1 (beta 30, 2)": lambda g, n: (g.beta(30, 2, n), 30 / 32),
    "70 % at 1": _mostly(1.0, 0.7, lambda g, n: g.beta(5, 2, n), 5 / 7),
    "90 % at 1": _mostly(1.0, 0.9, lambda g, n: g.random(n), 0.5),
    "eighths": lambda g, n: (g.binomial(8, g.beta(2, 2, n)) / 8, 0.5),
    "few eighths": lambda g, n: ((1 + g.binomial(7, g.beta(0.5, 4, n))) / 8, (1 + 7 * 0.5 / 4.5) / 8),
}
"""Values of inputs, as metrics of diversity give."""


def _wins(low: float, high: float, ties: float = 0.0) -> Draw:
    """The share of wins among decided comparisons is drawn itself: of a fixed one, coverage goes up and down with n."""

    def draw(generator: Generator, n: int) -> tuple[np.ndarray, float]:
        share = generator.uniform(low, high)
        values = (generator.random(n) < share).astype(float)
        values[generator.random(n) < ties] = 0.5
        return values, ties / 2 + (1 - ties) * share

    return draw


SHARES: dict[str, Draw] = {
    "near ½": _wins(0.4, 0.6),
    "0.6 to 0.95": _wins(0.6, 0.95),
    "0.95 to 1": _wins(0.95, 1.0),
    "10 % ties": _wins(0.2, 0.8, 0.1),
    "half ties": _wins(0.2, 0.8, 0.5),
    "90 % ties": _wins(0.2, 0.8, 0.9),
    "97 % ties": _wins(0.2, 0.8, 0.97),
    "by degree (beta ½, ½)": lambda g, n: (g.beta(0.5, 0.5, n), 0.5),
    "by degree, near 1 (beta 1, 0.1)": lambda g, n: (g.beta(1, 0.1, n), 1 / 1.1),
    "by degree, alike (beta 20, 20)": lambda g, n: (g.beta(20, 20, n), 0.5),
    "means of 8 (pass rates)": lambda g, n: (g.binomial(8, g.beta(0.3, 0.6, n)) / 8, 1 / 3),
}
"""Wins, ties and losses, preferences by degree, and pass rates of inputs."""


def judged_lengths(theta: float, phi: float, ties: float = 0.0, psi: float = 0.0) -> Callable[..., tuple]:
    """Judgements of a logistic judge with a taste φ for length, of which `ties` at most are ties."""
    many = np.random.default_rng(0).normal(size=200_000)

    def draw(generator: Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, float]:
        centre = theta + generator.uniform(-0.5, 0.5)
        lengths = generator.lognormal(5, 0.7, size=(n, 2)).astype(int)
        lengths[:, 0] += 50
        d = lengths[:, 0] - lengths[:, 1]
        difficulty = generator.normal(size=n)
        chance = _sigmoid(centre + phi * np.tanh(d / d.std()) + psi * difficulty)
        # A tie takes as much from wins as from losses.
        tied = 2 * np.minimum(chance, 1 - chance) * ties
        drawn = generator.random(n)
        wins = np.where(drawn < chance - tied / 2, 1.0, np.where(drawn < chance + tied / 2, 0.5, 0.0))
        truth = float(_sigmoid(centre + psi * many).mean())
        return wins, lengths, difficulty if psi else None, truth

    return draw


LENGTHS = {
    "no taste for length": judged_lengths(0, 0),
    "a taste for length": judged_lengths(0, 1.5),
    "a strong taste for length": judged_lengths(0, 4),
    "mostly won": judged_lengths(2.5, 1),
    "nearly all won": judged_lengths(4, 1),
    "half ties": judged_lengths(0.5, 1, ties=0.5),
    "nearly all ties": judged_lengths(0, 0.5, ties=0.95),
    "instructions differ": judged_lengths(0.5, 1, psi=2),
}


def _sigmoid(x: np.ndarray | float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


_WORDS = np.array([f"w{number}" for number in range(3000)])
_ZIPF = 1 / np.arange(1, 3001) ** 0.9


def _texts(generator: Generator, chances: np.ndarray, count: int) -> list[str]:
    sizes = generator.integers(6, 16, count)
    drawn = _WORDS[generator.choice(len(chances), size=int(sizes.sum()), p=chances)]
    return [" ".join(words) for words in np.split(drawn, np.cumsum(sizes)[:-1])]


def _one_vocabulary(generator: Generator, inputs: int, outputs: int) -> list[list[str]]:
    texts = _texts(generator, _ZIPF / _ZIPF.sum(), inputs * outputs)
    return [texts[start : start + outputs] for start in range(0, len(texts), outputs)]


def _topics(generator: Generator, inputs: int, outputs: int) -> list[list[str]]:
    """Every input has one of 40 topics, and words of its own of which there are few or many."""
    found = []
    for topic, own in zip(generator.integers(40, size=inputs), generator.lognormal(2.5, 0.8, inputs), strict=True):
        chances = _ZIPF / _ZIPF.sum() * 0.3
        words = (50 * topic + np.arange(max(2, int(own)))) % 3000
        chances[words] += 0.7 / len(words)
        found.append(_texts(generator, chances / chances.sum(), outputs))
    return found


def _collapsed(generator: Generator, inputs: int, outputs: int) -> list[list[str]]:
    """Most outputs are the same refusal."""
    found = _one_vocabulary(generator, inputs, outputs)
    refused = generator.random((inputs, outputs)) < generator.beta(4, 2, inputs)[:, None]
    return [
        ["sorry , i cannot do that" if gone else text for gone, text in zip(row, texts, strict=True)]
        for row, texts in zip(refused, found, strict=True)
    ]


TEXTS: dict[str, Texts] = {"one vocabulary": _one_vocabulary, "topics": _topics, "collapsed": _collapsed}
