"""How scalar heads start."""

from __future__ import annotations

import math

import pytest
import torch

from genrlhf.models import ScalarHead


def test_a_fresh_value_head_predicts_zero() -> None:
    head = ScalarHead(8)
    values = head(torch.randn(2, 3, 8))
    assert values.shape == (2, 3)
    assert values.eq(0).all()


def test_normal_initialisation_has_the_published_deviation() -> None:
    torch.manual_seed(0)
    weight = torch.cat([ScalarHead(400, init="normal").linear.weight.flatten() for _ in range(50)])
    assert weight.mean().item() == pytest.approx(0.0, abs=2e-3)
    # 20,000 draws: the standard error of the deviation is 0.5 %.
    assert weight.std().item() == pytest.approx(1 / math.sqrt(401), rel=0.02)
    assert ScalarHead(400, init="normal").linear.bias.item() == 0.0


def test_head_is_linear_and_answers_in_float32() -> None:
    head = ScalarHead(4, init="normal")
    with torch.no_grad():
        head.linear.bias.fill_(0.5)
    hidden = torch.randn(2, 3, 4)
    expected = (hidden * head.linear.weight[0]).sum(-1) + 0.5
    assert torch.allclose(head(hidden), expected, atol=1e-6)
    low = head(hidden.bfloat16())
    assert low.dtype == torch.float32
    assert torch.allclose(low, (hidden.bfloat16().float() * head.linear.weight[0]).sum(-1) + 0.5, atol=1e-6)


def test_a_value_head_steps_out_of_autocast() -> None:
    head = ScalarHead(16, init="normal")
    hidden = torch.randn(2, 3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = head(hidden)
    torch.testing.assert_close(values, head(hidden), rtol=0, atol=0)
    # Engines such as DeepSpeed make every weight bfloat16.
    assert head.bfloat16()(hidden.bfloat16()).dtype == torch.float32
