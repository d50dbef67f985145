"""Vendi scores against their closed forms and an explicit eigendecomposition."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.errors import ConfigError, ModelError
from genrlhf.metrics import VendiScore

ORDERS = [0, 1e-9, 0.5, 1 - 1e-12, 1, 1 + 1e-12, 1 + 1e-6, 2, 30, 400, 1e5, 1e300, math.inf]


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


@given(st.integers(1, 9), st.integers(1, 5), st.sampled_from([0, 0.5, 1, 2, math.inf]))
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


@pytest.mark.parametrize("q", [1 - 1e-9, 1 + 1e-9, 1.001, 7, 250.5, 4000])
def test_orders_in_exact_arithmetic(q: float) -> None:
    # Shares 1/2, 1/4, 1/8, 1/8.
    shares = [Decimal(1) / 2, Decimal(1) / 4, Decimal(1) / 8, Decimal(1) / 8]
    with localcontext() as context:
        context.prec = 60
        total = sum((Decimal(q) * share.ln()).exp() for share in shares)
        expected = float((total.ln() / (1 - Decimal(q))).exp())  # type: ignore[union-attr]
    assert VendiScore(one_hot, q=q)(list("aaaabbcd")) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 100))
def test_higher_orders_are_lower(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(6, 4))
    texts = [str(i) for i in range(6)]
    values = [VendiScore(lambda asked: points[[int(t) for t in asked]], q=q)(texts) for q in ORDERS]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(values))


def test_kernels_that_are_none() -> None:
    def negative(texts: list[str]) -> Any:  # eigenvalues 1 ± 0.9 √2, 1
        return [[1, 0.9, 0], [0.9, 1, 0.9], [0, 0.9, 1]]

    with pytest.raises(ModelError, match=r"similarities of 3 texts with an eigenvalue of -0\.273"):
        VendiScore(kernel=negative)(["a", "b", "c"])
    # Rounding is no fault.
    units = np.random.default_rng(0).normal(size=(40, 3))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    for kind in (np.float16, np.float32):
        rounded = (units @ units.T).astype(kind)
        np.fill_diagonal(rounded, 1)
        texts = [str(i) for i in range(40)]
        assert VendiScore(kernel=lambda asked, rounded=rounded: rounded)(texts) == pytest.approx(
            VendiScore(kernel=lambda asked: units @ units.T)(texts), abs=0.05
        )


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
