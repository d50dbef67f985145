"""Models that are sharded over processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from genrlhf.models import ScalarHead
from genrlhf.models.completions import PolicyWithValue
from genrlhf.models.gather import whole
from tests.helpers import tiny_llama


def test_sharded_policy_samples_and_trains_as_a_whole_one() -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, "-m", "tests.models.two_shards"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_nothing_happens_to_a_model_that_is_not_sharded() -> None:
    policy = PolicyWithValue(tiny_llama(), ScalarHead(16), temperature=1.0)
    before = {name: id(parameter) for name, parameter in policy.named_parameters()}
    with whole(policy):
        assert {name: id(parameter) for name, parameter in policy.named_parameters()} == before
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in policy.parameters())
