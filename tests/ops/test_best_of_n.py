"""Best-of-N: the closed form of its KL divergence, the weights of a pool, the soft variant, simulated outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import pytest
import torch
from scipy.integrate import quad

from genrlhf.errors import ConfigError, DataError, ShapeError
from genrlhf.ops import best_of_n_kl, best_of_n_weights, simulate_best_of_n, soft_best_of_n_weights


def test_known_values() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5, abs=1e-12)
    assert best_of_n_kl(16) == pytest.approx(2.772588722239781 - 0.9375, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 16, 64])
def test_it_is_the_divergence_of_the_best_of_n_uniform_numbers(n: int) -> None:
    """Without ties the best of n has density n u^(n − 1) at quantile u of the base."""
    divergence, _ = quad(lambda u: n * u ** (n - 1) * math.log(n * u ** (n - 1)) if u else 0.0, 0, 1)
    assert best_of_n_kl(n) == pytest.approx(divergence, abs=1e-7)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_it_bounds_the_divergence_where_samples_tie(n: int) -> None:
    base = [0.1, 0.2, 0.3, 0.4]  # from worst to best
    below = [sum(base[:k]) for k in range(5)]
    best = [below[k + 1] ** n - below[k] ** n for k in range(4)]
    divergence = sum(p * math.log(p / q) for p, q in zip(best, base, strict=True))
    assert 0 < divergence < best_of_n_kl(n)


@pytest.mark.parametrize("n", [0, -3])
def test_n_must_be_positive(n: int) -> None:
    with pytest.raises(ConfigError, match=f"not {n}"):
        best_of_n_kl(n)


POOLS = {
    "distinct": [0.3, -1.0, 2.5, 0.7, 1.1],
    "tie at the top": [1.0, 0.0, 1.0, -1.0, 1.0, 0.5],
    "ties everywhere": [2.0, 1.0, 2.0, 1.0, 0.0, 0.0, 0.0],
    "all equal": [4.0, 4.0, 4.0, 4.0],
    "infinite": [-math.inf, 1.0, math.inf, -math.inf],
    "one": [3.0],
}


def over_all_subsets(pool: Sequence[float], n: int) -> list[float]:
    """Count, over all subsets of n samples, how often each is the best, a tie counting in equal parts."""
    counts, subsets = [0.0] * len(pool), 0
    for subset in combinations(range(len(pool)), n):
        subsets += 1
        top = [i for i in subset if pool[i] == max(pool[j] for j in subset)]
        for i in top:
            counts[i] += 1 / len(top)
    return [count / subsets for count in counts]


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
def test_weights_are_the_shares_over_all_subsets(pool: list[float]) -> None:
    for n in range(1, len(pool) + 1):
        weights = best_of_n_weights(torch.tensor(pool), n)
        assert weights.dtype == torch.float64
        assert weights.tolist() == pytest.approx(over_all_subsets(pool, n), abs=1e-9)


def test_weights_of_every_pool_of_a_batch_are_its_own() -> None:
    pools = torch.tensor([[[0.0, 1.0, 1.0], [5.0, 4.0, 3.0]], [[2.0, 2.0, 2.0], [0.1, 0.3, 0.2]]])
    weights = best_of_n_weights(pools, 2)
    assert weights.shape == pools.shape
    for i in range(2):
        for j in range(2):
            assert weights[i, j].tolist() == pytest.approx(over_all_subsets(pools[i, j].tolist(), 2), abs=1e-12)


def test_one_sample_is_any_and_all_samples_are_the_best() -> None:
    pool = torch.tensor([0.3, 2.0, -1.0, 2.0])
    assert best_of_n_weights(pool, 1).tolist() == pytest.approx([0.25] * 4, abs=1e-15)
    assert best_of_n_weights(pool, 4).tolist() == [0.0, 0.5, 0.0, 0.5]


@pytest.mark.parametrize(
    ("size", "n"), [(5, 2), (16, 4), (1000, 1), (1000, 16), (1000, 500), (1000, 999), (1000, 1000)]
)
def test_expected_maximum_of_ranks(size: int, n: int) -> None:
    """The largest of n numbers out of 1 … N without replacement is n (N + 1)/(n + 1) in the mean."""
    ranks = torch.arange(1.0, size + 1).roll(3)
    weights = best_of_n_weights(ranks, n)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float((weights * ranks).sum()) == pytest.approx(n * (size + 1) / (n + 1), rel=1e-12)


@pytest.mark.parametrize("n", [2, 16, 500, 990])
def test_weights_of_a_large_pool_are_exact(n: int) -> None:
    weights = best_of_n_weights(torch.arange(1000.0), n).tolist()
    for rank in (n - 1, n, n + 1, 995, 1000):
        # Integers of Python's have no rounding.
        exact = math.comb(rank - 1, n - 1) / math.comb(1000, n)
        assert weights[rank - 1] == pytest.approx(exact, rel=1e-10, abs=0)


def test_soft_weights_by_hand() -> None:
    weights = soft_best_of_n_weights(torch.tensor([[0.0, math.log(3.0)], [7.0, 7.0]]), temperature=1.0)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64))
    # At half the temperature the odds are squared.
    halved = soft_best_of_n_weights(torch.tensor([0.0, math.log(3.0)], dtype=torch.float64), temperature=0.5)
    assert halved.tolist() == pytest.approx([0.1, 0.9], abs=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-9])
def test_soft_weights_of_a_low_temperature_are_those_of_best_of_n(temperature: float) -> None:
    assert soft_best_of_n_weights(torch.tensor([1.0, 3.0, -2.0, 3.0]), temperature).tolist() == [0.0, 0.5, 0.0, 0.5]


@pytest.mark.parametrize("temperature", [1e15, math.inf])
def test_soft_weights_of_a_high_temperature_are_equal(temperature: float) -> None:
    weights = soft_best_of_n_weights(torch.tensor([1.0, 300.0, -2.0, 3.0]), temperature)
    assert weights.tolist() == pytest.approx([0.25] * 4, abs=1e-12)


def test_soft_weights_overflow_nowhere() -> None:
    assert soft_best_of_n_weights(torch.tensor([1e6, 1e6 - 1]), 1e-3).tolist() == [1.0, 0.0]


def test_simulated_outputs_come_as_often_as_their_weights() -> None:
    pool = [0.2, 1.0, -0.5, 1.0, 0.7, 0.2, 0.0]
    k = 40_000
    chosen = simulate_best_of_n(torch.tensor(pool), n=3, k=k, generator=torch.Generator().manual_seed(0))
    assert chosen.dtype == torch.int64
    shares = torch.bincount(chosen, minlength=len(pool)) / k
    for share, expected in zip(shares.tolist(), over_all_subsets(pool, 3), strict=True):
        # Four standard errors of a share; they exceed 0.001 for all but the sample that no draw can choose.
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / k))


def test_simulated_outputs_are_drawn_anew_every_time() -> None:
    pool = torch.arange(50.0)
    one, same, other = (
        simulate_best_of_n(pool, n=4, k=200, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert one.tolist() == same.tolist() != other.tolist()
    # Independent runs put out different samples, and some of them more than once.
    assert 20 < len(set(one.tolist())) < 50
    assert simulate_best_of_n(pool, n=50, k=5, generator=torch.Generator()).tolist() == [49] * 5


GENERATOR = torch.Generator()


@pytest.mark.parametrize("n", [0, -1, 4])
def test_n_must_lie_within_the_pool(n: int) -> None:
    with pytest.raises(ConfigError, match=f"at most 3, the number of samples in the pool, not {n}"):
        best_of_n_weights(torch.zeros(2, 3), n)
    with pytest.raises(ConfigError, match=f"not {n}"):
        simulate_best_of_n(torch.zeros(3), n, 1, GENERATOR)


@pytest.mark.parametrize("rewards", [torch.tensor(1.0), torch.tensor([1, 2, 3]), torch.zeros(2, 0)])
def test_pools_must_be_floats_along_an_axis(rewards: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="floating point"):
        best_of_n_weights(rewards, 1)
    with pytest.raises(ShapeError, match="floating point"):
        soft_best_of_n_weights(rewards, 1.0)


def test_simulation_takes_one_pool_and_at_least_one_run() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        simulate_best_of_n(torch.zeros(2, 3), 1, 1, GENERATOR)
    with pytest.raises(ConfigError, match="k must be at least 1, not 0"):
        simulate_best_of_n(torch.zeros(3), 1, 0, GENERATOR)


def test_nan_is_refused_with_its_place() -> None:
    rewards = torch.tensor([[0.0, 1.0], [2.0, math.nan]])
    with pytest.raises(DataError, match=r"\[1, 1\] is NaN"):
        best_of_n_weights(rewards, 1)
    with pytest.raises(DataError, match=r"\[1\] is NaN"):
        simulate_best_of_n(rewards[1], 1, 1, GENERATOR)


def test_soft_weights_refuse_infinite_rewards_and_negative_temperatures() -> None:
    with pytest.raises(DataError, match=r"\[1\] is infinite"):
        soft_best_of_n_weights(torch.tensor([0.0, math.inf]), 1.0)
    for temperature in (-0.5, math.nan):
        with pytest.raises(ConfigError, match=f"not {temperature}"):
            soft_best_of_n_weights(torch.zeros(2), temperature)
