"""Models that are sharded over processes."""

from __future__ import annotations

import torch

from genrlhf.models import ScalarHead
from genrlhf.models.completions import PolicyWithValue
from genrlhf.models.gather import whole
from tests.helpers import tiny_llama
from tests.processes import run_in_two


def test_sharded_policy_samples_and_trains_as_a_whole_one() -> None:
    assert run_in_two("tests.models.two_shards").count("alike") == 2


def test_nothing_happens_to_a_model_that_is_not_sharded() -> None:
    policy = PolicyWithValue(tiny_llama(), ScalarHead(16), temperature=1.0)
    before = {name: id(parameter) for name, parameter in policy.named_parameters()}
    with whole(policy):
        assert {name: id(parameter) for name, parameter in policy.named_parameters()} == before
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in policy.parameters())
