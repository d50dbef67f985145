"""Vendi scores against their closed forms and an explicit eigendecomposition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, ModelError
from genrlhf.metrics import VendiScore

ORDERS = [0, 0.5, 1, 2, math.inf]


def one_hot(texts: list[str]) -> np.ndarray:
    return np.eye(64)[[ord(text[0]) % 64 for text in texts]]


@pytest.mark.parametrize("q", ORDERS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_identical_texts_count_as_one(q: float, n: int) -> None:
    assert VendiScore(one_hot, q=q)(["a"] * n) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("q", ORDERS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_orthogonal_texts_count_as_n(q: float, n: int) -> None:
    assert VendiScore(one_hot, q=q)(list("abcdefg"[:n])) == pytest.approx(n, abs=1e-9)


@pytest.mark.parametrize(("q", "expected"), [(0, 3), (1, 2 * 2**0.5), (2, 8 / 3), (math.inf, 2)])
def test_unequal_shares_by_hand(q: float, expected: float) -> None:
    # Shares 1/2, 1/4, 1/4: entropy 1.5 log 2; Σ p² = 3/8.
    assert VendiScore(one_hot, q=q)(["a", "a", "b", "c"]) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 9), st.integers(1, 5), st.sampled_from(ORDERS))
def test_both_forms_against_an_eigendecomposition(n: int, d: int, q: float) -> None:
    points = np.random.default_rng(n * 10 + d).normal(size=(n, d))
    units = points / np.linalg.norm(points, axis=1, keepdims=True)
    shares = np.linalg.eigvals(units @ units.T / n).real
    shares = shares[shares > 1e-9]
    if q == 1:
        expected = math.exp(-sum(p * math.log(p) for p in shares))
    elif math.isinf(q):
        expected = 1 / max(shares)
    else:
        expected = sum(p**q for p in shares) ** (1 / (1 - q))
    texts = [str(i) for i in range(n)]
    assert VendiScore(lambda asked: points[[int(t) for t in asked]], q=q)(texts) == pytest.approx(expected, rel=1e-6)
    assert VendiScore(kernel=lambda asked: units @ units.T, q=q)(texts) == pytest.approx(expected, rel=1e-6)


def test_an_embedding_of_length_zero_is_apart() -> None:
    def encode(texts: list[str]) -> np.ndarray:
        return np.array([[float(text == "a"), 0.0] for text in texts])

    assert VendiScore(encode)(["a", "x", "y", "z", "a"]) == pytest.approx(
        math.exp(-(0.4 * math.log(0.4) + 3 * 0.2 * math.log(0.2))), rel=1e-9
    )


def test_many_sets_at_once() -> None:
    values = VendiScore(one_hot).batch([["a", "b"], [], ["a", "a"], ["a", "b", "c"]])
    assert [values[0], values[2], values[3]] == pytest.approx([2, 1, 3])
    assert math.isnan(values[1])


@pytest.mark.parametrize("returned", [[[1.0]], [[1, 2], [0, 1]], [[1, math.nan], [math.nan, 1]], [[2, 0], [0, 2]]])
def test_bad_kernels(returned: Any) -> None:
    with pytest.raises(ModelError, match="kernel must return"):
        VendiScore(kernel=lambda texts: returned)(["a", "b"])
    with pytest.raises(ConfigError, match="q is -1"):
        VendiScore(one_hot, q=-1)
