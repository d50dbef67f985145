"""Models that are sharded over processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributed.fsdp import FullyShardedDataParallel

from genrlhf.errors import ConfigError
from genrlhf.models import ScalarHead
from genrlhf.models.gather import unsharded
from genrlhf.models.policy import PolicyWithValue
from tests.helpers import tiny_llama
from tests.processes import run_in_two


def test_sharded_policy_samples_trains_and_loads_as_a_whole_one(tmp_path: Path) -> None:
    assert run_in_two("tests.models.two_shards", str(tmp_path)).count("alike") == 2


def test_nothing_happens_to_a_model_that_is_not_sharded() -> None:
    policy = PolicyWithValue(tiny_llama(), ScalarHead(16), temperature=1.0)
    before = {name: id(parameter) for name, parameter in policy.named_parameters()}
    with unsharded(policy):
        assert {name: id(parameter) for name, parameter in policy.named_parameters()} == before
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in policy.parameters())


def test_the_first_fsdp_is_refused() -> None:
    policy = PolicyWithValue(tiny_llama(), ScalarHead(16), temperature=1.0)
    # Without its constructor, which wants several processes.
    wrapped = FullyShardedDataParallel.__new__(FullyShardedDataParallel)
    torch.nn.Module.__init__(wrapped)
    policy.policy.model.layers[0] = wrapped
    with (
        pytest.raises(ConfigError, match=r"\(FSDP1\) does not give parameters back whole.*use FSDP2"),
        unsharded(policy),
    ):
        pass
