"""The last layer at the last positions against the whole layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genrlhf.models import freeze_layers
from genrlhf.models.completions import completion_logits
from genrlhf.models.last_positions import LastPositions, can_limit
from genrlhf.models.structure import decoder_layers
from genrlhf.models.trunk import Trunk, trunk_states
from genrlhf.types import Tokens
from tests.helpers import PAD_ID, VOCAB_SIZE
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES

DEEP: dict[str, dict[str, Any]] = {
    "gemma2": {"num_hidden_layers": 3, "layer_types": ["full_attention", "full_attention", "sliding_attention"]},
    "gpt_neox": {"num_hidden_layers": 3},
    "mistral": {"num_hidden_layers": 3},
    "qwen3": {"num_hidden_layers": 3},
}
LENGTH, NEW = 11, 4


def tokens(padded: bool) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(4, VOCAB_SIZE, (2, LENGTH), generator=generator)
    completion = torch.randint(4, VOCAB_SIZE, (2, NEW), generator=generator)
    if padded:
        prompt[0, :3], completion[1, 2:] = PAD_ID, PAD_ID
    return prompt, prompt != PAD_ID, completion, completion != PAD_ID


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("family", DEEP)
def test_two_layers_on_a_trunk_equal_the_whole_model(family: str, padded: bool) -> None:
    model = FAMILIES[family](**DEEP[family])
    freeze_layers(model, 0.34)
    batch = tokens(padded)
    states = trunk_states(model, 1, torch.cat(batch[::2], dim=1), torch.cat(batch[1::2], dim=1))
    seen: list[tuple[str, int]] = []
    for number, layer in enumerate(decoder_layers(model)):
        layer.mlp.register_forward_hook(lambda _m, args, _out, number=number: seen.append((number, args[0].shape[1])))
    got = completion_logits(model, Tokens(*batch), trunk=Trunk(1, states))
    assert seen == [(1, LENGTH + NEW), (2, NEW + 1)]
    want = completion_logits(model, Tokens(*batch))
    trained = [p for p in model.parameters() if p.requires_grad]
    mask = batch[3]
    for found, whole in zip(got, want, strict=True):
        torch.testing.assert_close(found[mask], whole[mask], atol=1e-6, rtol=1e-5)
    gradients, wanted = (torch.autograd.grad(found[0][mask].square().sum(), trained) for found in (got, want))
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_fewer_positions_than_are_wanted_are_the_whole_layer() -> None:
    layer = decoder_layers(FAMILIES["gpt2"]())[1]
    hidden = torch.randn(2, 3, 16)
    torch.testing.assert_close(LastPositions(layer, 3)(hidden), layer(hidden), rtol=0, atol=0)
    assert not torch.equal(LastPositions(layer, 2)(hidden), layer(hidden))


def test_layers_that_cannot_be_limited_run_whole() -> None:
    model = FAMILIES["llama"]()
    layer = decoder_layers(model)[1]
    assert can_limit(layer, model.config)
    handle = layer.register_forward_hook(lambda *_: None)
    assert not can_limit(layer, model.config)
    handle.remove()
    layer.gradient_checkpointing = True
    assert not can_limit(layer, model.config)
    layer.gradient_checkpointing = False
    model.config._attn_implementation = "flex_attention"
    assert not can_limit(layer, model.config)
    mamba = PLAIN_FAMILIES["mamba"]()
    mamba.config._attn_implementation = "sdpa"
    assert not can_limit(decoder_layers(mamba)[1].mixer, mamba.config)
