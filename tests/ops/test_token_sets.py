"""Sets of tokens and their packing."""

from __future__ import annotations

import pytest
import torch

from genrlhf.errors import ConfigError
from genrlhf.ops import nucleus, pack_bits, unpack_bits


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
