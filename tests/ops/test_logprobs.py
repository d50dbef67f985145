"""Log-probabilities, entropy and KL estimators against plain Python and exact expectations."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from genrlhf.errors import ConfigError, ShapeError
from genrlhf.ops import KL_ESTIMATORS, EarlyTokens, chosen_logprobs, kl_estimate, logprobs_and_entropy, token_entropy


def softmax(logits: list[float], temperature: float) -> list[float]:
    weights = [math.exp(x / temperature) for x in logits]
    return [w / math.fsum(weights) for w in weights]


def test_logprobs_by_hand() -> None:
    logits = torch.tensor([[[math.log(1), math.log(3)], [math.log(9), math.log(1)]]])
    chosen, entropy = logprobs_and_entropy(logits, torch.tensor([[1, 1]]))
    assert chosen[0].tolist() == pytest.approx([math.log(3 / 4), math.log(1 / 10)], abs=1e-6)
    by_hand = [-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))]
    assert entropy[0].tolist() == pytest.approx(by_hand, abs=1e-6)
    # At temperature 2, 9 : 1 becomes 3 : 1.
    chosen, _ = logprobs_and_entropy(logits, torch.tensor([[1, 0]]), temperature=2.0)
    assert chosen[0, 1].item() == pytest.approx(math.log(3 / 4), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 2.5])
def test_logprobs_match_a_loop(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, 4, 11, generator=generator)
    tokens = torch.randint(11, (3, 4), generator=generator)
    chosen, entropy = logprobs_and_entropy(logits, tokens, temperature=temperature)
    assert chosen.dtype == entropy.dtype == torch.float32
    for i in range(3):
        for j in range(4):
            p = softmax(logits[i, j].tolist(), temperature)
            assert chosen[i, j].item() == pytest.approx(math.log(p[int(tokens[i, j])]), abs=3e-6)
            assert entropy[i, j].item() == pytest.approx(-math.fsum(x * math.log(x) for x in p), abs=3e-6)


def test_low_precision_logits_are_computed_in_float32() -> None:
    logits = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    tokens = torch.zeros(2, 3, dtype=torch.long)
    chosen, entropy = logprobs_and_entropy(logits, tokens)
    exact = logits.double().log_softmax(-1)
    assert chosen.dtype == entropy.dtype == torch.float32
    assert torch.allclose(chosen.double(), exact[..., 0], atol=1e-6)


def test_impossible_tokens_leave_entropy_finite() -> None:
    logits = torch.tensor([[[0.0, 0.0, -math.inf]]])
    chosen, entropy = logprobs_and_entropy(logits, torch.tensor([[2]]))
    assert chosen.item() == -math.inf
    assert entropy.item() == pytest.approx(math.log(2), abs=1e-6)


def test_gradient_is_one_hot_minus_softmax() -> None:
    logits = torch.tensor([[[1.0, 2.0, 0.5]]], requires_grad=True)
    chosen, entropy = logprobs_and_entropy(logits, torch.tensor([[0]]), temperature=0.5)
    (gradient,) = torch.autograd.grad(chosen.sum(), logits)
    p = softmax([1.0, 2.0, 0.5], 0.5)
    expected = [((k == 0) - p[k]) / 0.5 for k in range(3)]
    assert gradient[0, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert not entropy.requires_grad


def test_estimators_by_hand() -> None:
    logprobs, reference = torch.tensor([-1.0, -2.0]).double(), torch.tensor([-1.5, -1.0]).double()
    # log r = (-0.5, 1).
    assert kl_estimate(logprobs, reference).tolist() == [0.5, -1.0]
    assert kl_estimate(logprobs, reference, "k1").tolist() == [0.5, -1.0]
    assert kl_estimate(logprobs, reference, "k2").tolist() == [0.125, 0.5]
    expected = [math.exp(-0.5) - 1 + 0.5, math.e - 2]
    assert kl_estimate(logprobs, reference, "k3").tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_expectations_over_an_enumerated_distribution(seed: int) -> None:
    """Weighted by π, k1 and k3 average to the KL divergence; k2 does not."""
    generator = torch.Generator().manual_seed(seed)
    log_p, log_q = torch.randn(2, 20, dtype=torch.float64, generator=generator).log_softmax(-1)
    p = log_p.exp()
    exact = kl_divergence(Categorical(logits=log_p), Categorical(logits=log_q)).item()
    assert (p * kl_estimate(log_p, log_q, "k1")).sum().item() == pytest.approx(exact, abs=1e-12)
    assert (p * kl_estimate(log_p, log_q, "k3")).sum().item() == pytest.approx(exact, abs=1e-12)
    k2 = math.fsum(x * (b - a) ** 2 / 2 for x, a, b in zip(p.tolist(), log_p.tolist(), log_q.tolist(), strict=True))
    assert (p * kl_estimate(log_p, log_q, "k2")).sum().item() == pytest.approx(k2, abs=1e-12)
    assert abs(k2 - exact) > 1e-3


def test_k2_and_k3_are_never_negative_and_exact_for_near_equal_policies() -> None:
    logprobs = torch.full((1000,), -1.0)
    reference = logprobs + 1e-4 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert kl_estimate(logprobs, reference, "k2").min().item() >= 0
    k3 = kl_estimate(logprobs, reference, "k3")
    assert k3.min().item() >= -1e-11
    # r − 1 − log r ≈ (log r)² / 2 near 0; computed as r − 1 it would round at 1e-7, above the 1e-8 it amounts to.
    assert torch.allclose(k3.double(), (reference.double() - logprobs.double()) ** 2 / 2, atol=2e-11)


def test_estimators_are_declared() -> None:
    assert KL_ESTIMATORS == ("k1", "k2", "k3")
    with pytest.raises(ConfigError, match="k1, k2, k3, not 'k4'"):
        kl_estimate(torch.zeros(2), torch.zeros(2), "k4")  # type: ignore[arg-type]


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 3, 5\).*\(2, 4\)"):
        logprobs_and_entropy(torch.zeros(2, 3, 5), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ShapeError, match="same shape"):
        kl_estimate(torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_a_softmax_whatever_the_slices(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrlhf.ops.logprobs.SLICE_ELEMENTS", 22)
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(3, 5, 11, generator=generator)).to(dtype).requires_grad_()
    tokens = torch.randint(10, (3, 5), generator=generator)
    weights = torch.randn(3, 5, generator=generator)
    with torch.no_grad():
        logits[:, :, 10] = float("-inf")
    got = chosen_logprobs(logits, tokens, temperature=0.7)
    want = (logits.float() / 0.7).log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(got, want)
    (found,) = torch.autograd.grad((got * weights).sum(), logits)
    (wanted,) = torch.autograd.grad((want * weights).sum(), logits)
    assert found.dtype == dtype
    torch.testing.assert_close(found, wanted)
    (of_entropy,) = torch.autograd.grad(token_entropy(logits[..., :10], temperature=0.7).sum(), logits)
    p = (logits[..., :10].float() / 0.7).softmax(-1)
    (wanted,) = torch.autograd.grad(-(p * p.log()).sum(), logits)
    torch.testing.assert_close(of_entropy, wanted, atol=1e-6 if dtype == torch.float32 else 1e-2, rtol=1e-2)


@pytest.mark.parametrize("places", [0, 1, 2, 5])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("slices", [False, True])
def test_early_tokens_have_no_probability_at_the_first_places(
    places: int, temperature: float, slices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if slices:
        monkeypatch.setattr("genrlhf.ops.logprobs.SLICE_ELEMENTS", 12)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64).float()
    logits[..., 4] += 300  # much the likeliest, so that taking it off afterwards would leave no digit of the others
    ids = torch.tensor([[0, 2, 3], [5, 0, 2]])
    early = EarlyTokens((1, 4, 99), places)
    barred = logits.clone()
    for t in range(min(places, 3)):
        barred[:, t, [1, 4]] = -math.inf
    for measure in (
        lambda x, **bar: chosen_logprobs(x, ids, temperature=temperature, **bar),
        lambda x, **bar: token_entropy(x, temperature=temperature, **bar),
    ):
        ours, other = logits.clone().requires_grad_(), barred.clone().requires_grad_()
        found, wanted = measure(ours, early=early), measure(other)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
        found.sum().backward()
        wanted.sum().backward()
        assert ours.grad is not None and other.grad is not None
        torch.testing.assert_close(ours.grad, other.grad.nan_to_num(0.0), rtol=1e-6, atol=1e-6)
        assert ours.grad[:, :places, [1, 4]].eq(0).all()
        assert torch.equal(ours.detach(), logits)
