"""Policy losses that look at covariance, against loops and their identities."""

from __future__ import annotations

import statistics

import torch

from genrlhf.ops import clip_cov_loss, clipped_policy_loss, kl_cov_loss, token_covariance

GENERATOR = torch.Generator().manual_seed(0)
NEW, OLD, ADVANTAGES = (
    torch.randn(3, 6, generator=GENERATOR, dtype=torch.float64) * scale for scale in (0.2, 0.2, 1.0)
)
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]]).bool()


def test_covariance_by_a_loop() -> None:
    gains, logprobs = ADVANTAGES[MASK].tolist(), NEW[MASK].tolist()
    means = statistics.mean(gains), statistics.mean(logprobs)
    expected = [(a - means[0]) * (x - means[1]) for a, x in zip(gains, logprobs, strict=True)]
    found = token_covariance(NEW.clone().requires_grad_(), ADVANTAGES, MASK)
    assert torch.allclose(found[MASK], torch.tensor(expected).double(), atol=1e-14) and not found[~MASK].any()
    assert not found.requires_grad
    n = len(gains)
    assert abs(float(found.sum()) - n * statistics.covariance(gains, logprobs) * (n - 1) / n) < 1e-12
    assert not token_covariance(NEW, torch.full_like(NEW, 0.7), MASK).abs().max() > 1e-15


def test_kl_cov_penalises_the_largest_covariances() -> None:
    plain = -ADVANTAGES * (NEW - OLD).exp()
    assert torch.equal(kl_cov_loss(NEW, OLD, ADVANTAGES, MASK, share=0, coef=1), plain)
    cov = token_covariance(NEW, ADVANTAGES, MASK)[MASK]
    for share, count in ((1e-9, 1), (0.25, 3), (1.0, 12)):
        loss = kl_cov_loss(NEW, OLD, ADVANTAGES, MASK, share=share, coef=2.0)
        added = (loss - plain)[MASK]
        chosen = sorted(cov.tolist(), reverse=True)[:count]
        assert sorted(cov[added > 0].tolist(), reverse=True) == chosen
        assert torch.allclose(added[added > 0], 2 * (NEW - OLD)[MASK].abs()[added > 0], atol=1e-12)
        assert torch.equal(loss[~MASK], plain[~MASK])


def test_the_penalty_has_no_gradient_at_ratio_one() -> None:
    new = NEW.clone().requires_grad_()
    kl_cov_loss(new, NEW, ADVANTAGES, MASK, share=1.0, coef=5.0)[MASK].sum().backward()
    assert torch.allclose(new.grad[MASK], -ADVANTAGES[MASK], atol=1e-14)  # type: ignore[index]
    # Nor where batches of other shapes have rounded log-probabilities otherwise.
    rounded = (NEW + 1e-6 * torch.randn(NEW.shape, generator=GENERATOR, dtype=NEW.dtype)).requires_grad_()
    kl_cov_loss(rounded, NEW, ADVANTAGES, MASK, share=1.0, coef=5.0)[MASK].sum().backward()
    assert torch.allclose(rounded.grad[MASK], -ADVANTAGES[MASK], rtol=1e-4, atol=0)  # type: ignore[index]


def test_clip_cov_drops_tokens_between_its_bounds() -> None:
    plain = clipped_policy_loss(NEW, OLD, ADVANTAGES, clip_range=0.2)
    none = clip_cov_loss(NEW, OLD, ADVANTAGES, MASK, share=0.0, low=-9, high=9, clip_range=0.2)
    assert torch.equal(none.loss, plain.loss) and torch.equal(none.clipped, plain.clipped)
    flat = clip_cov_loss(NEW, OLD, torch.ones_like(NEW), MASK, share=1.0, low=1, high=5, clip_range=0.2)
    assert torch.equal(flat.loss, clipped_policy_loss(NEW, OLD, torch.ones_like(NEW), clip_range=0.2).loss)
    cov = token_covariance(NEW, ADVANTAGES, MASK)
    near = (cov > 0) & (cov < 1) & MASK & ~plain.clipped
    assert plain.clipped[MASK].any()
    assert 1 < near.sum() < 12
    torch.manual_seed(0)
    seen = torch.zeros_like(MASK)
    for _ in range(50):
        found = clip_cov_loss(NEW, OLD, ADVANTAGES, MASK, share=0.01, low=0, high=1, clip_range=0.2)
        dropped = found.clipped & ~plain.clipped
        assert dropped.sum() == 1 and found.loss[dropped] == 0
        assert torch.equal(found.loss[~dropped], plain.loss[~dropped])
        seen |= dropped
    assert torch.equal(seen, near)
