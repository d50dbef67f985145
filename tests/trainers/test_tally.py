"""Figures weighted by rows or tokens."""

from __future__ import annotations

import math

import pytest
import torch

from genrlhf.trainers.tally import Tally


def test_figures_are_means_over_everything_since_the_last_time() -> None:
    tally = Tally()
    tally.add("a", torch.tensor([1.0, 2.0]))
    tally.add("a", torch.tensor([[6.0, 99.0]]), torch.tensor([[True, False]]))
    tally.add("b", torch.tensor([True, False, False, False]))
    assert tally.figures(lambda tensor: tensor) == {"a": 3.0, "b": 0.25}
    assert tally.figures(lambda tensor: tensor) == {}
    tally.add_later("t", lambda: 2.0)
    tally.add_later("t", lambda: 4.0)
    tally.add("b", torch.tensor([[math.nan, 5.0]]), torch.tensor([[False, True]]))
    assert tally.figures(lambda tensor: tensor) == {"b": 5.0, "t": 3.0}
    tally.add("a", torch.tensor([1.0]))
    # Three processes with the same figures: sums and counts triple, the mean stays.
    assert tally.figures(lambda tensor: 3 * tensor) == {"a": 1.0}


@pytest.mark.parametrize("count", [3, torch.tensor(3)])
def test_sums_weigh_as_much_as_what_they_count(count: int | torch.Tensor) -> None:
    tally = Tally()
    tally.add_sum("a", torch.tensor(6.0), count)
    tally.add("a", torch.tensor([10.0]))
    # A batch without a token has the mean 0 / 0.
    tally.add_sum("a", torch.tensor(math.nan), torch.tensor(0))
    assert tally.figures(lambda tensor: tensor) == {"a": 4.0}


def test_extremes_are_those_of_all_processes() -> None:
    tally = Tally()
    for values in ([1.0, -2.0], [0.5]):
        tally.add_extreme("most", torch.tensor(values), sign=1)
        tally.add_extreme("least", torch.tensor(values), sign=-1)

    def gather(own: torch.Tensor) -> torch.Tensor:
        return torch.cat([own, own + 3])

    assert tally.figures(lambda tensor: tensor, gather) == {"most": 4.0, "least": -5.0}
