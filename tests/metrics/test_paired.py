"""Paired comparisons and their test."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrlhf.metrics.paired import paired_comparison, paired_shares, sign_flip_test


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_exact_p_value_against_all_signs(values: list[float]) -> None:
    seen = abs(math.fsum(values))
    signs = itertools.product((1, -1), repeat=len(values))
    sums = [abs(math.fsum(s * v for s, v in zip(pattern, values, strict=True))) for pattern in signs]
    expected = sum(total >= seen - 1e-9 for total in sums) / len(sums)
    assert sign_flip_test(values) == pytest.approx(
        expected, abs=1 / len(sums) * sum(abs(t - seen) < 1e-8 for t in sums)
    )


def test_drawn_p_value_is_near_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, 100)
    z = values.sum() / math.sqrt((values**2).sum())
    assert sign_flip_test(values) == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.015)
    assert sign_flip_test(np.ones(40)) == 1 / 10_001
    assert sign_flip_test(values, seed=1) != sign_flip_test(values, seed=2)


def test_the_test_keeps_its_level() -> None:
    generator = np.random.default_rng(0)
    p = [sign_flip_test(generator.exponential(1, 20) - generator.exponential(1, 20), flips=400) for _ in range(400)]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.085


def test_paired_comparison_leaves_undefined_inputs_out() -> None:
    found = paired_comparison([1.0, math.nan, 2.0, 3.0], [2.0, 1.0, math.nan, 5.0])
    assert found.difference.n == 2
    assert found.difference.value == 1.5
    assert found.p_value == 0.5
    assert found.to_dict()["p_value"] == 0.5
    assert str(found).startswith("+1.500 [")


def test_paired_shares_have_tangos_interval() -> None:
    # 21 pairs of shares, 13 of them alike: Fagerland, Lydersen & Laake 2014, table IV
    first, second = [0.0] * 13 + [0.0] + [1.0] * 7, [0.0] * 13 + [1.0] + [0.0] * 7
    found = paired_shares(first, second)
    assert found.difference.ci == pytest.approx((-0.517, -0.026), abs=5.1e-4)
    # One of eight discordant pairs or fewer on either side: 2 (1 + 8) / 2⁸
    assert found.p_value == pytest.approx(18 / 256, abs=0.008)
    same = paired_shares([0.4] * 8, [0.4] * 8).difference
    # Of n differences of 0: ± z² / (n + z²)
    assert same.value == 0 and same.ci == pytest.approx((-0.324408, 0.324408), abs=1e-6)


def test_bounds_of_values_are_bounds_of_differences() -> None:
    same = paired_comparison([40.0] * 8, [40.0] * 8, bounds=(0, 100)).difference
    assert same.ci == pytest.approx((-32.4408, 32.4408), abs=1e-4)
    unknown = paired_comparison([40.0] * 8, [40.0] * 8).difference
    assert unknown.value == unknown.stderr == 0 and all(map(math.isnan, unknown.ci))
    wide = paired_comparison([0.0, 100.0, 0.0], [100.0, 100.0, 0.0], bounds=(0, 100)).difference
    assert wide.ci == (-100, 100) and wide.value == pytest.approx(100 / 3)


def test_an_interval_that_is_not_known_is_said_so() -> None:
    assert str(paired_comparison([0.0, 0.0], [1.0, 1.0])).startswith("+1.000 [unknown]")
