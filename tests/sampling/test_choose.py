"""Filters, random numbers and the draw itself against transformers' warpers and exact frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chisquare
from transformers import MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from genrlhf.sampling.choose import filter_logits, next_tokens, penalise_repetition, sample_seeds, uniforms
from genrlhf.types import SamplingParams


def some_logits(seed: int = 0, rows: int = 16, width: int = 40) -> torch.Tensor:
    return 2 * torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [1, 2, 7, 39, 40, 1000])
def test_top_k_agrees_with_transformers(k: int) -> None:
    logits = some_logits()
    assert torch.equal(filter_logits(logits, top_k=k, top_p=1.0), TopKLogitsWarper(k)(None, logits))


@pytest.mark.parametrize("p", [0.05, 0.3, 0.7, 0.9, 0.99])
def test_top_p_agrees_with_transformers(p: float) -> None:
    logits = some_logits(1)
    assert torch.equal(filter_logits(logits, top_k=0, top_p=p), TopPLogitsWarper(p)(None, logits))


def test_top_k_comes_before_top_p() -> None:
    logits = some_logits(2)
    expected = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(5)(None, logits))
    assert torch.equal(filter_logits(logits, top_k=5, top_p=0.8), expected)


def test_filters_by_hand() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()

    def kept(**filters: float) -> list[int]:
        return filter_logits(logits, **{"top_k": 0, "top_p": 1.0, **filters})[0].isfinite().nonzero()[:, 0].tolist()  # type: ignore[arg-type]

    assert kept() == [0, 1, 2, 3]
    assert kept(top_k=2) == [1, 3]
    assert kept(top_p=0.39) == [1]
    assert kept(top_p=0.5) == [1, 3]
    assert kept(top_p=0.75) == [1, 2, 3]
    # Of the two that top-k leaves, the first has 4 / 7.
    assert kept(top_k=2, top_p=0.55) == [1]
    assert kept(top_p=0.0001) == [1]


def test_filters_change_no_argument() -> None:
    logits = some_logits()
    before = logits.clone()
    filter_logits(logits, top_k=3, top_p=0.5)
    assert torch.equal(logits, before)


def test_min_p_is_that_of_transformers() -> None:
    logits = some_logits()
    for min_p in (0.05, 0.3, 0.9):
        expected = MinPLogitsWarper(min_p)(None, logits)
        assert torch.equal(filter_logits(logits, top_k=0, top_p=1.0, min_p=min_p), expected)
        assert 0 < int(expected.isfinite().sum()) < expected.numel()
    expected = MinPLogitsWarper(0.2)(None, TopKLogitsWarper(4)(None, logits))
    assert torch.equal(filter_logits(logits, top_k=4, top_p=1.0, min_p=0.2), expected)


@pytest.mark.parametrize("penalty", [0.7, 1.3])
def test_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    logits = some_logits()
    ids = torch.randint(logits.shape[-1], (len(logits), 5), generator=torch.Generator().manual_seed(0))
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
    torch.testing.assert_close(penalise_repetition(logits, seen, penalty), expected)


def test_draw_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log().repeat(6, 1)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 1 - 2**-53], dtype=torch.float64)
    assert next_tokens(logits, uniform, SamplingParams()).tolist() == [0, 0, 1, 1, 2, 2]
    # At temperature 0.5 the odds square: (4, 1, 1) / 6.
    uniform = torch.tensor([0.0, 0.66, 0.67, 0.83, 0.84, 0.99], dtype=torch.float64)
    assert next_tokens(logits, uniform, SamplingParams(temperature=0.5)).tolist() == [0, 0, 1, 1, 2, 2]
    assert next_tokens(logits, uniform, SamplingParams(temperature=0)).tolist() == [0] * 6


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).repeat(3, 1)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert next_tokens(logits, uniform, SamplingParams()).tolist() == [1, 3, 3]


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_frequencies_are_the_softmax(temperature: float) -> None:
    """Over 20,000 seeds the tokens are distributed as softmax(logits / T), by a chi-squared test."""
    logits = some_logits(3, rows=1, width=12) / 2
    number = 20_000
    uniform = torch.rand(number, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tokens = next_tokens(logits.expand(number, -1), uniform, SamplingParams(temperature=temperature))
    weights = [math.exp(x / temperature) for x in logits[0].tolist()]
    expected = [number * w / math.fsum(weights) for w in weights]
    assert min(expected) > 5
    observed = [int((tokens == k).sum()) for k in range(12)]
    assert chisquare(observed, expected).pvalue > 0.01
    flat = chisquare(observed, [number / 12] * 12)
    assert flat.pvalue < 1e-6


def test_seeds_are_distinct_and_stay_what_they_are() -> None:
    seeds = sample_seeds(7, [0, 1, 2], 4)
    assert len(set(seeds)) == 12
    assert all(0 <= s < 2**63 for s in seeds)
    assert seeds == sample_seeds(7, range(3), 4)
    assert seeds[4:8] == sample_seeds(7, [1], 4)
    assert seeds[8:10] == sample_seeds(7, [2], 2)
    assert not set(seeds) & set(sample_seeds(8, range(3), 4))
    # Neither (row, index) = (1, 0) and (0, 1) nor (seed, row) = (0, 1) and (1, 0) collide.
    assert len({*sample_seeds(0, range(5), 5), *sample_seeds(1, range(5), 5), *sample_seeds(2, range(5), 5)}) == 75


def test_uniforms_are_uniform_and_a_row_depends_on_its_seed_alone() -> None:
    both = uniforms([3, 4], 1000)
    assert both.shape == (2, 1000)
    assert both.dtype == torch.float64
    assert torch.equal(both[1:], uniforms([4], 1000))
    assert torch.equal(both[:, :10], uniforms([3, 4], 10))
    assert both.min().item() >= 0
    assert both.max().item() < 1
    assert abs(both.mean().item() - 0.5) < 0.03
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.1
