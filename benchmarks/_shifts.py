"""Shifts between sets of prompts in populations where they are known, or are an expected value; see `coverage.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeAlias

import numpy as np

from genrlhf.metrics import embedding_distance, length_difference, word_difference
from genrlhf.types import Estimate

__all__ = ["shift_cases"]

Generator: TypeAlias = np.random.Generator
Simulate: TypeAlias = Callable[[Generator, int], tuple[Estimate, float | None]]

_WORDS, _TOPICS, _DIRECTIONS = 2000, 20, 16


@cache
def _topics(other: float) -> np.ndarray:
    """Return the shares of words in every topic; `other` of the mass is on words of another order."""
    generator = np.random.default_rng(0)
    zipf = 1 / np.arange(1, _WORDS + 1)
    shares = zipf * generator.lognormal(0, 1, (_TOPICS, _WORDS))
    moved = zipf[generator.permutation(_WORDS)] * generator.lognormal(0, 1, (_TOPICS, _WORDS))
    mixed = (1 - other) * shares / shares.sum(1, keepdims=True) + other * moved / moved.sum(1, keepdims=True)
    return np.asarray(mixed)


def _texts(generator: Generator, n: int, other: float) -> list[str]:
    topics = _topics(other)
    drawn = [
        generator.choice(_WORDS, size, p=topics[topic])
        for topic, size in zip(generator.integers(0, _TOPICS, n), 1 + generator.poisson(30, n), strict=True)
    ]
    return [" ".join(f"w{word}" for word in words) for words in drawn]


def _words(other: float) -> Simulate:
    """Of an expected value: what sets of this size have on average; 0 without a shift."""
    truth = 0.0 if other == 0 else None
    return lambda g, n: (word_difference(_texts(g, n, 0.0), _texts(g, n, other)), truth)


def _lengths(generator: Generator, n: int, mean: float, spread: float) -> list[str]:
    sizes = np.maximum(1, np.round(np.exp(generator.normal(mean, spread, n)))).astype(int)
    return ["w " * size for size in sizes]


@cache
def _moments(mean: float, spread: float) -> tuple[float, float]:
    sizes = np.maximum(1, np.round(np.exp(np.random.default_rng(0).normal(mean, spread, 1_000_000))))
    logs = np.log1p(sizes)
    return float(logs.mean()), float(logs.var())


def _length(first: tuple[float, float], second: tuple[float, float]) -> Simulate:
    (a, u), (b, v) = _moments(*first), _moments(*second)
    truth = (b - a) / math.sqrt((u + v) / 2)
    return lambda g, n: (length_difference(_lengths(g, n, *first), _lengths(g, n, *second)), truth)


def _embedding(move: float) -> Simulate:
    truth = 0.0 if move == 0 else None

    def simulate(generator: Generator, n: int) -> tuple[Estimate, float | None]:
        places = generator.normal(size=(2 * n, _DIRECTIONS))
        places[:, 0] += 1
        places[n:, 1] += move
        names = [str(row) for row in range(2 * n)]
        return embedding_distance(names[:n], names[n:], lambda texts: places[[int(text) for text in texts]]), truth

    return simulate


def shift_cases() -> Iterator[tuple[str, str, Simulate, float]]:
    """Yield figure, population, how it is simulated and the share of the simulations."""
    for other, name in ((0.0, "none"), (0.2, "some words"), (1.0, "most words")):
        yield "shift of words", name, _words(other), 0.1
    yield "shift of lengths", "none", _length((3.0, 0.5), (3.0, 0.5)), 0.5
    yield "shift of lengths", "longer, wider", _length((3.0, 0.5), (4.0, 0.8)), 0.5
    for move, name in ((0.0, "none"), (0.5, "small"), (2.0, "large")):
        yield "shift of embeddings", name, _embedding(move), 0.2
