"""Frozen weights that are cast once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genrlhf.models import freeze_layers
from genrlhf.models.autocast import frozen_weights_cast
from tests.helpers import tiny_gpt2, tiny_llama
from tests.sampling.families import FAMILIES

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_are_cast_once_give_what_autocast_gives(family: str) -> None:
    model = FAMILIES[family]()
    freeze_layers(model, 0.5)
    before = {name: parameter for name, parameter in model.named_parameters(remove_duplicate=False)}
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        want = model(IDS).logits
        with frozen_weights_cast(model):
            held = dict(model.named_parameters(remove_duplicate=False))
            got = model(IDS).logits
    assert torch.equal(got, want)
    after = dict(model.named_parameters(remove_duplicate=False))
    assert all(after[name] is parameter for name, parameter in before.items())
    # Matrices of frozen layers and of the head, tied or not; no norm, no embedding, nothing that is trained.
    cast = {name for name, parameter in held.items() if parameter.dtype == torch.bfloat16}
    matrices = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) or "Conv1D" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False)
        if not parameter.requires_grad
    }
    assert cast == matrices != set()


def test_nothing_is_cast_outside_of_autocast() -> None:
    model = tiny_llama()
    model.requires_grad_(False)
    with frozen_weights_cast(model):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_weights_come_back_where_a_pass_fails() -> None:
    model = tiny_gpt2()
    model.requires_grad_(False)
    with pytest.raises(KeyError), torch.autocast("cpu", dtype=torch.bfloat16), frozen_weights_cast(model):
        raise KeyError
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is model.transformer.wte.weight
