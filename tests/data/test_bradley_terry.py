"""Noisy comparisons come out with the probabilities that Bradley and Terry give them."""

from __future__ import annotations

import random

import pytest

from genrlhf.data.bradley_terry import is_preferred


@pytest.mark.parametrize(
    ("margin", "temperature", "expected"), [(0.0, 1.0, 0.5), (1.0, 1.0, 0.7311), (-0.1, 0.05, 0.1192)]
)
def test_share(margin: float, temperature: float, expected: float) -> None:
    rng = random.Random(0)
    share = sum(is_preferred(margin, temperature, rng) for _ in range(4000)) / 4000
    # Four standard errors of a share of 4000 are at most 0.032.
    assert share == pytest.approx(expected, abs=0.032)


def test_a_wide_margin_is_certain() -> None:
    assert is_preferred(1.0, 1e-300, random.Random(0))
