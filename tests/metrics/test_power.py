"""Numbers of inputs against tables, and against samples of that size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binom

from genrlhf.errors import ConfigError, DataError
from genrlhf.metrics import DistinctN, SelfBLEU
from genrlhf.metrics.estimate import mean_estimate, proportion_estimate
from genrlhf.metrics.power import (
    diversity_inputs_needed,
    independent_inputs_needed,
    inputs_needed,
    shares_needed,
)
from genrlhf.metrics.preference import generalisation_gap
from genrlhf.types import Estimate

SAMPLES = 1500
NOISE = 3 * (0.16 / SAMPLES) ** 0.5
"""Three standard deviations of a share of 80 % of so many."""


def leaves_out(estimate: Estimate, null: float) -> bool:
    return not estimate.ci[0] <= null <= estimate.ci[1]


def test_of_normal_values_it_is_what_tables_say() -> None:
    # Cohen 1988, "Statistical Power Analysis", table 2.4.1: 64 of either group at d = 0.5, 2-sided 5 %, 80 %; for a
    # paired mean 34. The intervals are a little wider than Student's.
    values = np.random.default_rng(0).normal(size=3000)
    values = (values - values.mean()) / values.std(ddof=1)
    assert 34 <= inputs_needed(values, 0.5) <= 37
    assert 62 <= independent_inputs_needed(values, 0.5) <= 70
    assert inputs_needed(values, -0.5) == pytest.approx(inputs_needed(values, 0.5), rel=0.08)
    assert inputs_needed(values, 0.002) == pytest.approx((2.801585 / 0.002) ** 2, rel=1e-3)
    assert inputs_needed(values, 0.5, power=0.95) > 1.5 * inputs_needed(values, 0.5)
    # 783 at 40 % against 50 %, one sample: ((1.96 √.25 + 0.8416 √.24) / .1)² = 193
    assert shares_needed([1.0, 0.0] * 200, 0.1) == pytest.approx(193, rel=0.06)


@pytest.mark.parametrize("name", ["normal", "skewed", "two values"])
def test_at_the_number_it_names_the_power_is_80_percent(name: str) -> None:
    generator = np.random.default_rng(1)
    values = {
        "normal": generator.normal(size=500),
        "skewed": generator.exponential(size=500),
        "two values": generator.integers(0, 2, 500).astype(float),
    }[name]
    values = (values - values.mean()) / values.std(ddof=1)
    n = inputs_needed(values, 0.4)
    seen = [leaves_out(mean_estimate(generator.choice(values, n) + 0.4), 0) for _ in range(SAMPLES)]
    assert 0.8 - NOISE <= np.mean(seen) <= 0.83 + NOISE
    n = independent_inputs_needed(values, 0.6)
    sides = [[mean_estimate(generator.choice(values, n) + d) for d in (0.6, 0.0)] for _ in range(SAMPLES)]
    assert 0.8 - NOISE - 0.01 <= np.mean([leaves_out(generalisation_gap(*pair), 0) for pair in sides]) <= 0.83 + NOISE


def test_without_ties_the_power_is_that_of_a_sum_over_all_counts() -> None:
    for difference in (0.1, 0.25):
        n = shares_needed([1.0, 0.0] * 500, difference)
        wins = np.arange(n + 1)
        # Wilson's interval leaves out ½ where (2 w − n)² > z² n.
        shown = (2 * wins - n) ** 2 > 1.959964**2 * n
        assert 0.785 < binom.pmf(wins, n, 0.5 + difference)[shown].sum() < 0.84


def test_with_ties_at_the_number_it_names_the_power_is_80_percent() -> None:
    generator = np.random.default_rng(2)
    n = shares_needed([0.5] * 600 + [1.0, 0.0] * 200, 0.1)
    assert n < shares_needed([1.0, 0.0] * 500, 0.1)
    # Of wins and losses as many as makes 60 %; ties lose next to nothing.
    chances = [0.1, 0.6, 0.3]
    seen = [leaves_out(proportion_estimate(generator.choice([0, 0.5, 1], n, p=chances)), 0.5) for _ in range(SAMPLES)]
    assert 0.76 <= np.mean(seen) <= 0.86
    paired = shares_needed([0.0] * 600 + [1.0, -1.0] * 200, 0.2, null=0.0, low=-1.0, high=1.0)
    # The same in other units: (1 + d) / 2.
    assert paired == pytest.approx(n, rel=0.06)


class Mean:
    """The mean of numbers."""

    name = "mean"

    def __call__(self, texts: Sequence[str]) -> float:
        return float(np.mean([float(text) for text in texts]))


def numbers(seed: int, inputs: int = 400, samples: int = 8, between: float = 1.0) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    centres = between * np.random.default_rng(0).normal(size=(inputs, 1))
    return [[repr(float(x)) for x in row] for row in centres + generator.normal(size=(inputs, samples))]


def test_inputs_and_samples_of_two_components_of_variance() -> None:
    found = diversity_inputs_needed(numbers(1), Mean(), 0.5)
    assert [one.samples for one in found] == [1, 2, 4, 8]
    for one in found:
        # Variance 1 between inputs and 1/K within; on the same inputs 2/K is left of the difference.
        assert one.sd_other == pytest.approx((1 + 1 / one.samples) ** 0.5, rel=0.08)
        assert one.sd_same == pytest.approx((2 / one.samples) ** 0.5, rel=0.12)
        assert one.same_inputs is not None and one.same_inputs < one.other_inputs
        assert one.other_inputs == pytest.approx(7.85 * 2 * one.sd_other**2 / 0.25, rel=0.12)
    # Another model whose inputs are as this one's but for the same shift, and one that differs on each in its own way.
    alike = diversity_inputs_needed(numbers(1), Mean(), 0.5, second=numbers(2), samples=[4])
    assert alike[0].sd_same == pytest.approx(0.5**0.5, rel=0.08)
    apart = diversity_inputs_needed(numbers(1), Mean(), 0.5, second=numbers(2, between=-1), samples=[4])
    assert apart[0].sd_same == pytest.approx(4.5**0.5, rel=0.08)


def test_what_a_file_does_not_tell() -> None:
    few = diversity_inputs_needed([["a b"], ["a a"], ["a b c c"]], DistinctN(1), 0.1)
    assert [(one.samples, one.same_inputs, one.sd_same) for one in few] == [(1, None, None)]
    # One sample of each is alike, two are not.
    one, two = diversity_inputs_needed([["a b", "c"], ["a b", "a"]], DistinctN(1), 0.5, samples=[1, 2])
    assert one.other_inputs is None is one.sd_other and two.other_inputs is not None
    with pytest.raises(DataError, match="2 values, which do not differ"):
        inputs_needed([0.5, 0.5], 0.1)
    with pytest.raises(DataError, match="distinct_n is the same, or undefined, for all 3 inputs"):
        diversity_inputs_needed([["a b"]] * 3, DistinctN(1), 0.1)
    with pytest.raises(DataError, match=r"have 1 output\(s\) each, and self_bleu needs at least 2"):
        diversity_inputs_needed([["a b"], ["a a"]], SelfBLEU(), 0.1)
    with pytest.raises(DataError, match="as many outputs each"):
        diversity_inputs_needed([["a"], ["a", "b"]], DistinctN(1), 0.1)
    with pytest.raises(ConfigError, match="distinct_n of 3 samples: give 1 to 1"):
        diversity_inputs_needed([["a b"], ["a a"]], DistinctN(1), 0.1, samples=[3])
    for wrong in (0.0, float("nan")):
        with pytest.raises(ConfigError, match="give the size that shall be seen, not 0"):
            inputs_needed([0.0, 1.0], wrong)
    with pytest.raises(ConfigError, match="power is 80"):
        inputs_needed([0.0, 1.0], 1.0, power=80)
    with pytest.raises(ConfigError, match=r"A difference of 5 from 0.5 is 5.5; it must lie between 0 and 1 \(shares"):
        shares_needed([0.0, 1.0], 5)
    assert shares_needed([1.0] * 10, 0.2) > 10
