"""What `test_gather` runs in each of two processes: sampling from a sharded model, training it, and loading weights."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from genrlhf.models import ScalarHead, freeze_layers
from genrlhf.models.gather import unsharded
from genrlhf.models.policy import PolicyWithValue
from genrlhf.models.weights import load_weights, load_whole_state
from genrlhf.sampling import TransformersSampler, sample_seeds
from genrlhf.types import Generation, SamplingParams
from tests.helpers import tiny_llama, tiny_tokenizer
from tests.processes import leave


def main(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    # Completions of other lengths on each process, and so another number of forward passes.
    params = SamplingParams(max_new_tokens=8 + 4 * torch.distributed.get_rank(), logprobs=True)
    model = tiny_llama()
    freeze_layers(model, 0.5)
    policy = PolicyWithValue(model, ScalarHead(16), temperature=1.0, depth=1)
    sampler = TransformersSampler(model, tiny_tokenizer())

    def sample() -> Generation:
        return sampler.generate(
            [f"q{number}" for number in range(4)], 1, params, sample_seeds(0, range(4), 1), boundary=1
        )

    want = sample()
    loss_of(policy, want).backward()
    gradients = [parameter.grad for parameter in policy.parameters() if parameter.requires_grad]
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(policy, mesh=mesh)
    for _ in range(2):
        policy.zero_grad()
        with unsharded(policy):
            got = sample()
        assert all(isinstance(parameter, DTensor) for parameter in policy.parameters())
        assert torch.equal(got.completion_ids, want.completion_ids)
        loss_of(policy, got).backward()
        trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        for parameter, gradient in zip(trained, gradients, strict=True):
            assert gradient is not None
            torch.testing.assert_close(parameter.grad.full_tensor(), gradient, atol=1e-5, rtol=1e-5)
    saved, head = tiny_llama(seed=1), {"linear.weight": torch.ones(1, 16), "linear.bias": torch.ones(1)}
    if torch.distributed.get_rank() == 0:
        saved.save_pretrained(folder)
    torch.distributed.barrier()
    load_weights(model, folder)
    load_whole_state(policy.value_head, head)
    for name, parameter in saved.named_parameters():
        assert torch.equal(model.get_parameter(name).full_tensor(), parameter)
    for name, tensor in head.items():
        assert torch.equal(policy.value_head.get_parameter(name).full_tensor(), tensor)
    print("alike")
    leave()


def loss_of(policy: PolicyWithValue, found: Generation) -> torch.Tensor:
    """The mean log-probability of the first eight tokens, which both processes draw, from the trunk's states."""
    assert found.trunk is not None
    states = torch.cat([found.trunk.prompt, found.trunk.completion[:, :8]], dim=1)
    tokens = (found.prompt_ids, found.prompt_mask, found.completion_ids[:, :8], found.completion_mask[:, :8])
    output = policy(*tokens, states)
    return output.logprobs.mean() + output.values.mean()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
