from __future__ import annotations

import pytest
import torch

from genrlhf.ops import first_occurrences, repeated_ngrams, repetition_rate, unlikelihood


def rows(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 4, (6, 12), generator=generator)
    lengths = torch.randint(1, 13, (6,), generator=generator)
    return ids, torch.arange(12) < lengths.unsqueeze(1)


@pytest.mark.parametrize("seed", range(4))
def test_first_occurrences_are_those_of_a_loop(seed: int) -> None:
    ids, counted = rows(seed)
    found = first_occurrences(ids, counted)
    for row in range(6):
        seen = set()
        for place in range(12):
            token = int(ids[row, place])
            assert bool(found[row, place]) == bool(counted[row, place] and token not in seen)
            if counted[row, place]:
                seen.add(token)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_repeated_ngrams_are_those_of_a_loop(seed: int, n: int) -> None:
    ids, mask = rows(seed)
    found, rate = repeated_ngrams(ids, n, mask), repetition_rate(ids, n, mask)
    for row in range(6):
        text = ids[row, mask[row]].tolist()
        grams = [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]
        again = [gram in grams[:i] for i, gram in enumerate(grams)]
        expected = [any(again[i] for i in range(t - n + 1, t + 1) if 0 <= i < len(again)) for t in range(12)]
        assert found[row].tolist() == expected
        assert float(rate[row]) == pytest.approx(1 - len(set(grams)) / len(grams) if grams else 0.0)


def test_the_last_ngram_counts_and_distinct_tokens_do_not() -> None:
    every = torch.ones(1, 7, dtype=torch.bool)
    assert repeated_ngrams(torch.tensor([[1, 2, 3, 9, 1, 2, 3]]), 3, every)[0].tolist() == [False] * 4 + [True] * 3
    assert not repeated_ngrams(torch.arange(7).unsqueeze(0), 2, every).any()
    assert not repeated_ngrams(torch.zeros(1, 3, dtype=torch.int64), 4, every[:, :3]).any()


def test_the_gradient_of_a_candidate() -> None:
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    candidates = torch.tensor([[0, 2], [4, 4], [1, 3]])
    counted = torch.tensor([[True, True], [True, False], [False, False]])
    (ours,) = torch.autograd.grad(unlikelihood(z, candidates, counted).sum(), z)
    p, expected = z.detach().softmax(-1), torch.zeros(3, 5, dtype=torch.float64)
    for n in range(3):
        for c, some in zip(candidates[n].tolist(), counted[n].tolist(), strict=True):
            if some:
                expected[n] += p[n, c] / (1 - p[n, c]) * (torch.eye(5, dtype=torch.float64)[c] - p[n])
    assert torch.allclose(ours, expected, atol=1e-6)
    for n, v in ((0, 2), (1, 1)):
        step = torch.zeros(3, 5, dtype=torch.float64)
        step[n, v] = 1e-2
        up, down = (float(unlikelihood(z.detach() + sign * step, candidates, counted).sum()) for sign in (1, -1))
        assert float(ours[n, v]) == pytest.approx((up - down) / 2e-2, abs=1e-4)


def test_what_is_certain_costs_a_finite_sum() -> None:
    z = torch.tensor([[80.0, 0.0]], requires_grad=True)
    found = unlikelihood(z, torch.tensor([[0]]), torch.tensor([[True]]))
    assert found.tolist() == pytest.approx([13.8], abs=0.1)
    found.sum().backward()
    assert z.grad is not None and z.grad.isfinite().all()
