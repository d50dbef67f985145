"""GEM's identities."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genrlhf.errors import ConfigError
from genrlhf.methods import GEM


class Batch:
    """What GEM reads of a batch."""

    def __init__(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        self._logits, self.labels = logits, labels

    def logits(self) -> torch.Tensor:
        return self._logits


@pytest.fixture
def batch() -> Any:
    torch.manual_seed(0)
    return Batch(torch.randn(5, 7, requires_grad=True), torch.tensor([0, 6, 3, 3, 1]))


@pytest.mark.parametrize("beta", [0.3, 0.7, 1.0, 2.0])
def test_the_gradient_is_that_of_the_papers_loss(batch: Any, beta: float) -> None:
    (ours,) = torch.autograd.grad(GEM(beta)(batch).sum(), batch.logits())
    q = (batch.logits() / beta).softmax(-1).detach()
    assert torch.allclose(ours, q - torch.nn.functional.one_hot(batch.labels, 7), atol=1e-6)
    logp = batch.logits().log_softmax(-1)
    paper = sum(-q[n, v] * (logp[n, label] - logp[n, v]) for n, label in enumerate(batch.labels) for v in range(7))
    (theirs,) = torch.autograd.grad(paper, batch.logits())
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_beta_of_one_is_the_cross_entropy(batch: Any) -> None:
    expected = -batch.logits().log_softmax(-1)[range(5), batch.labels]
    assert torch.allclose(GEM(1.0)(batch), expected, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_beta_is_above_zero(beta: float) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        GEM(beta)
