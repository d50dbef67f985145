"""What is known in closed form about best-of-N sampling, and how to read it off one pool of samples."""

from __future__ import annotations

import math

import torch

from genrlhf.errors import ConfigError, DataError, ShapeError

__all__ = ["best_of_n_kl", "best_of_n_weights", "simulate_best_of_n", "soft_best_of_n_weights"]


def best_of_n_kl(n: int) -> float:
    """Return log n − (n − 1)/n, an upper bound in nats on KL(best-of-n ‖ base), tight where no two samples tie.

    Stiennon et al. 2020, "Learning to summarize from human feedback", appendix G.3; that it is a bound is shown by
    Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy", theorem 1.

    Example:
        >>> round(best_of_n_kl(16), 3)
        1.835
    """
    if n < 1:
        raise ConfigError(f"n must be at least 1, not {n}.")
    return math.log(n) - (n - 1) / n


def best_of_n_weights(rewards: torch.Tensor, n: int) -> torch.Tensor:
    """Return the probability of each sample of a pool to be the best of `n` that are drawn from it without replacement.

    Of N samples, the one with rank i from the lowest is the best of n if the n − 1 others have lower ranks::

        w_i = C(i − 1, n − 1) / C(N, n),    Σ_i w_i = 1

    Samples with equal rewards share the sum of their weights equally. Σ_i w_i f_i is the unbiased estimate, of least
    variance among those from this pool, of the mean of any f of the best of n: its reward, or whether it is preferred
    (Nakano et al. 2021, "WebGPT", appendix I; Hilton & Gao 2022, "Measuring Goodhart's law").

    Args:
        rewards: (…, N), floating point; infinite ones are ranked like any other.
        n: at least 1, at most N.

    Returns:
        (…, N) float64, summing to 1 over the last axis.

    Raises:
        ConfigError: n is out of range.
        DataError: a reward is NaN.
        ShapeError: `rewards` is a scalar, has no samples, or is not floating point.

    Example:
        >>> best_of_n_weights(torch.tensor([0.3, 0.1, 0.2]), n=2)  # of 3 pairs, the best sample is in 2
        tensor([0.6667, 0.0000, 0.3333], dtype=torch.float64)
    """
    size = _check_pool(rewards)
    _check_n(n, size)
    # C(i − 2, n − 1) = C(i − 1, n − 1) (i − n) / (i − 1): a product of ratios neither overflows nor cancels.
    rank = torch.arange(size, 1, -1, dtype=torch.float64, device=rewards.device)
    ratios = torch.cat([rank.new_tensor([n / size]), (rank - n).clamp(min=0) / (rank - 1)])
    by_rank = ratios.cumprod(0).flip(0).expand(rewards.shape)

    ordered, order = rewards.double().sort(dim=-1)
    group = torch.zeros_like(order)
    group[..., 1:] = (ordered[..., 1:] != ordered[..., :-1]).cumsum(-1)
    none = torch.zeros_like(ordered)
    mass = none.scatter_add(-1, group, by_rank).gather(-1, group)
    members = none.scatter_add(-1, group, torch.ones_like(ordered)).gather(-1, group)
    return none.scatter(-1, order, mass / members)


def soft_best_of_n_weights(rewards: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the probability of each of n samples to be chosen by soft best-of-n.

    ::

        w_i = exp(r_i / τ) / Σ_j exp(r_j / τ)

    τ → 0 takes the best sample, τ → ∞ any of them. As n grows, the chosen one comes to be distributed like the base
    distribution times exp(r / τ), which is what KL-regularised RL with β = τ aims at (Verdun et al. 2025, "Soft
    Best-of-n Sampling for Model Alignment", arXiv 2505.03156).

    Args:
        rewards: (…, n), floating point, finite.
        temperature: τ, in units of the reward; 0 is best-of-n, where ties share equally, infinity is uniform.

    Returns:
        (…, n) float64, summing to 1 over the last axis.

    Raises:
        ConfigError: the temperature is negative or NaN.
        DataError: a reward is not finite.
        ShapeError: `rewards` is a scalar, has no samples, or is not floating point.

    Example:
        >>> soft_best_of_n_weights(torch.tensor([0.0, 0.0, 2.0]).log1p(), temperature=1.0)  # exp(r) is 1, 1, 3
        tensor([0.2000, 0.2000, 0.6000], dtype=torch.float64)
    """
    size = _check_pool(rewards)
    if not temperature >= 0:
        raise ConfigError(f"temperature must be 0 or more, not {temperature}.")
    if rewards.isinf().any():
        raise DataError(f"The reward at {_place(rewards.isinf())} is infinite; soft best-of-n needs finite rewards.")
    if temperature == 0:
        return best_of_n_weights(rewards, size)
    below_best = rewards.double() - rewards.double().amax(dim=-1, keepdim=True)
    return (below_best / temperature).softmax(-1)


def simulate_best_of_n(rewards: torch.Tensor, n: int, k: int, generator: torch.Generator) -> torch.Tensor:
    """Return which samples of a pool `k` runs of best-of-n put out, for the diversity of its outputs.

    Every run takes the best of `n` samples that it draws without replacement from the pool, whatever the other runs
    drew; ties are broken by chance. A pool of M samples thus serves in place of k · n. The runs share it, so its best
    members recur more often than they would in independent runs: the smaller M is, the more diversity is
    underestimated.

    Args:
        rewards: (M,), floating point, M ≥ n.
        n: samples that a run chooses from.
        k: number of runs.
        generator: of the draws, on the device of `rewards`.

    Returns:
        (k,) int64 indices into the pool.

    Raises:
        ConfigError: n or k is out of range.
        DataError: a reward is NaN.
        ShapeError: `rewards` is not of one dimension, has no samples, or is not floating point.

    Example:
        >>> simulate_best_of_n(torch.tensor([0.1, 0.9, 0.5]), n=3, k=4, generator=torch.Generator())
        tensor([1, 1, 1, 1])
    """
    if rewards.ndim != 1:
        raise ShapeError(f"rewards must be those of one pool, of shape (M,), not {tuple(rewards.shape)}.")
    size = _check_pool(rewards)
    _check_n(n, size)
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}.")
    keys = torch.rand((k, size), dtype=torch.float64, generator=generator, device=rewards.device)
    drawn = keys.argsort(dim=-1)[:, :n]
    # argmax takes the first of several maxima, and those drawn are in random order.
    best = rewards[drawn].argmax(dim=-1, keepdim=True)
    return drawn.gather(-1, best).squeeze(-1)


def _check_pool(rewards: torch.Tensor) -> int:
    """Return the size of the pool, the last axis of `rewards`."""
    if rewards.ndim == 0 or rewards.shape[-1] == 0 or not rewards.is_floating_point():
        raise ShapeError(
            f"rewards must be floating point with the samples of a pool along the last axis, not {rewards.dtype} of "
            f"shape {tuple(rewards.shape)}."
        )
    if rewards.isnan().any():
        raise DataError(f"The reward at {_place(rewards.isnan())} is NaN, so it has no rank; drop that sample.")
    return rewards.shape[-1]


def _check_n(n: int, size: int) -> None:
    if not 1 <= n <= size:
        raise ConfigError(f"n must be at least 1 and at most {size}, the number of samples in the pool, not {n}.")


def _place(found: torch.Tensor) -> str:
    """Return the index of the first True."""
    return str(found.nonzero()[0].tolist())
