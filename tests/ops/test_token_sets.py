"""Sets of tokens and their packing."""

from __future__ import annotations

import pytest
import torch

from genrlhf.errors import ConfigError
from genrlhf.ops import nucleus, only_members
from genrlhf.ops.token_sets import pack_bits, unpack_bits


def test_nucleus_is_the_smallest_set_of_that_probability() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    for top_p, members in ((0.4, [1]), (0.6, [1, 3]), (0.8, [1, 2, 3]), (0.95, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3])):
        assert nucleus(logits, top_p)[0].nonzero().flatten().tolist() == members
    with pytest.raises(ConfigError, match="top_p must be above 0 and at most 1, not 0"):
        nucleus(logits, 0)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 50])
def test_packed_sets_come_back(size: int) -> None:
    members = torch.rand(3, 4, size, generator=torch.Generator().manual_seed(size)) < 0.5
    packed = pack_bits(members)
    assert packed.dtype == torch.uint8
    assert packed.shape == (3, 4, (size + 7) // 8)
    assert torch.equal(unpack_bits(packed, size), members)


def test_softmax_over_members_is_the_renormalised_distribution() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    packed = pack_bits(torch.tensor([[True, False, True, True]]))
    torch.testing.assert_close(only_members(logits, packed).softmax(-1), torch.tensor([[0.2, 0.0, 0.3, 0.5]]))


@pytest.mark.parametrize("size", [5, 8, 12, 30])
def test_members_of_a_vocabulary_of_another_size(size: int) -> None:
    """What lies behind the vocabulary that the sets are of is in none of them."""
    members = torch.tensor([[True] * 4 + [False] * 8])
    kept = only_members(torch.zeros(1, size), pack_bits(members)).isfinite()[0].nonzero().flatten().tolist()
    assert kept == [0, 1, 2, 3]
