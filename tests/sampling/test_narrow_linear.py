"""W xᵀ gives what x Wᵀ gives, and only while it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from genrlhf.sampling.narrow_linear import narrow_linear_layers


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 6), (5, 1, 6), (2, 3, 6), (4, 6)])
def test_same_numbers(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 9, bias=bias), torch.randn(shape)
    expected = layer(x)
    with torch.no_grad(), narrow_linear_layers(nn.Sequential(layer)):
        found = layer(x)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert found.is_contiguous()


def test_with_one_thread_there_is_nothing_to_split() -> None:
    layer = nn.Linear(2, 3)
    torch.set_num_threads(1)
    with narrow_linear_layers(layer):
        assert "forward" not in vars(layer)


def test_layers_are_as_before_at_the_end_whatever_happens() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(KeyboardInterrupt), narrow_linear_layers(layer):
        assert "forward" in vars(layer)
        raise KeyboardInterrupt
    assert "forward" not in vars(layer)


def test_other_layers_and_precisions_stay_as_they_are() -> None:
    class Own(nn.Linear):
        pass

    for layer in (Own(2, 3), nn.Linear(2, 3, dtype=torch.bfloat16), nn.Linear(2, 3, device="meta")):
        with narrow_linear_layers(layer):
            assert "forward" not in vars(layer)
    layer = nn.Linear(2, 3)
    with narrow_linear_layers(layer), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.ones(4, 2)).dtype == torch.bfloat16
