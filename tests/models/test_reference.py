"""Copies that stay as they are, and lie in the memory of what does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import (
    BOFTConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PrefixTuningConfig,
    VeraConfig,
    get_peft_model,
)
from torch import nn

from genrlhf.models import freeze_layers
from genrlhf.models.model_set import ModelSet
from genrlhf.models.reference import Snapshot, frozen_copy
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_frozen_copy_shares_what_is_frozen() -> None:
    model = tiny_llama().train()
    freeze_layers(model, 0.5)
    still_trained = trainable(model)
    copied = frozen_copy(model)
    assert copied is not model
    assert not copied.training
    assert model.training
    assert trainable(copied) == set()
    assert trainable(model) == still_trained
    theirs = dict(copied.named_parameters())
    for name, parameter in model.named_parameters():
        shared = theirs[name].data_ptr() == parameter.data_ptr()
        assert shared == (name not in still_trained), name
        assert torch.equal(theirs[name], parameter)


def test_frozen_copy_does_not_follow_training() -> None:
    model = tiny_llama()
    freeze_layers(model, 0.5)
    copied = frozen_copy(model)
    ids = torch.tensor([[5, 6, 7, 8]])
    before = copied(ids).logits
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(ids).logits.square().mean().backward()
    optimizer.step()
    assert not torch.equal(model(ids).logits, before)
    assert torch.equal(copied(ids).logits, before)


def test_frozen_copy_of_a_model_that_trains_everything_shares_nothing() -> None:
    model = tiny_gpt2()
    copied = frozen_copy(model)
    pointers = {p.data_ptr() for p in model.parameters()}
    assert not pointers & {p.data_ptr() for p in copied.parameters()}
    # Tied in the original, tied in the copy.
    assert copied.get_input_embeddings().weight is copied.get_output_embeddings().weight


IDS = torch.tensor([[5, 6, 7, 8]])


class Settings:
    """What `ModelSet` reads of a trainer's settings."""

    freeze_layers = 0.0
    disable_dropout = True


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(r=2, **{"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **settings})


ADAPTERS: dict[str, tuple[Any, PeftConfig]] = {
    "lora": (tiny_opt, lora()),
    "all biases": (tiny_opt, lora(bias="all")),
    "biases of its layers": (tiny_opt, lora(bias="lora_only")),
    "a norm and the head": (tiny_llama, lora(modules_to_save=["norm", "lm_head"])),
    "embeddings": (tiny_llama, lora(modules_to_save=["embed_tokens"])),
    "the tied head": (tiny_opt, lora(modules_to_save=["embed_tokens"], bias="all")),
    "some tokens": (tiny_llama, lora(trainable_token_indices=[5, 6])),
    "dora": (tiny_llama, lora(use_dora=True)),
    "pissa": (tiny_llama, lora(init_lora_weights="pissa")),
    "olora": (tiny_llama, lora(init_lora_weights="olora", bias="all")),
    "norms": (tiny_llama, LNTuningConfig(target_modules=["input_layernorm", "norm"], task_type="CAUSAL_LM")),
    "ia3": (
        tiny_llama,
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
    ),
    "vera": (tiny_opt, VeraConfig(r=2, target_modules=["q_proj", "out_proj"], bias="all", task_type="CAUSAL_LM")),
    "oft": (tiny_opt, OFTConfig(oft_block_size=2, target_modules=["q_proj"], bias="all", task_type="CAUSAL_LM")),
    "boft": (tiny_opt, BOFTConfig(boft_block_size=2, target_modules=["q_proj"], bias="all", task_type="CAUSAL_LM")),
    "loha": (tiny_llama, LoHaConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")),
    "prefix": (tiny_llama, PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")),
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_reference_is_the_policy_as_it_was_whatever_an_adapter_trains(kind: str) -> None:
    make, config = ADAPTERS[kind]
    base = make()
    before = base(IDS).logits.detach()
    models = ModelSet.build(base, Settings(), peft_config=config)
    assert torch.equal(models.reference(IDS).logits, before)
    optimizer = torch.optim.SGD([p for p in models.policy.parameters() if p.requires_grad], lr=1.0)
    models.policy(IDS).logits.square().mean().backward()
    optimizer.step()
    assert not torch.allclose(models.policy(IDS).logits, before, atol=1e-4)
    assert torch.equal(models.reference(IDS).logits, before)


@pytest.mark.parametrize("kind", ["lora", "all biases", "a norm and the head", "some tokens", "ia3", "prefix"])
def test_what_an_adapter_leaves_alone_lies_in_memory_once(kind: str) -> None:
    make, config = ADAPTERS[kind]
    models = ModelSet.build(make(), Settings(), peft_config=config)
    trained = {id(p) for p in models.policy.parameters() if p.requires_grad}
    own = {id(p) for p in models.reference.parameters()} - {id(p) for p in models.policy.parameters()}
    assert not trained & {id(p) for p in models.reference.parameters()}
    biases = sum("bias" in name for name, _ in models.reference.named_parameters())
    assert len(own) == (biases if kind == "all biases" else 0)


def test_an_adapter_that_is_there_already_belongs_to_the_reference() -> None:
    adapted = get_peft_model(tiny_opt(), lora(bias="all", init_lora_weights=False))
    before = adapted(IDS).logits.detach()
    models = ModelSet.build(adapted, Settings())
    with torch.no_grad():
        for parameter in models.policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert torch.equal(models.reference(IDS).logits, before)


def test_a_model_that_is_its_own_reference() -> None:
    model = tiny_llama()
    before = model(IDS).logits.detach()
    models = ModelSet.build(model, Settings(), reference=model)
    with torch.no_grad():
        for parameter in models.policy.parameters():
            parameter.add_(0.1)
    assert torch.equal(models.reference(IDS).logits, before)


def test_another_model_as_reference_is_not_copied() -> None:
    other = tiny_llama(seed=1)
    models = ModelSet.build(tiny_llama(), Settings(), reference=other)
    memory = {p.data_ptr() for p in other.parameters()}
    assert {p.data_ptr() for p in models.reference.parameters()} == memory
    assert trainable(models.reference) == set()
    assert trainable(other) == {name for name, _ in other.named_parameters()}


@pytest.mark.parametrize("make", [tiny_llama, tiny_opt, tiny_gpt2])
def test_what_is_trained_in_float32_is_compared_with_the_same_numbers(make: Any) -> None:
    """Weights of products stay as they were loaded, since autocast makes the same of them; all others are widened."""
    model = make(num_hidden_layers=4).bfloat16()
    settings = Settings()
    settings.freeze_layers = 0.5
    models = ModelSet.build(model, settings)
    own = dict(models.policy.named_parameters())
    dtypes = set()
    for name, parameter in models.reference.named_parameters():
        norm = "norm" in name or "ln_" in name
        dtypes.add((parameter.dtype, norm, own[name].requires_grad))
    widened = {dtype for dtype, norm, trained in dtypes if norm and trained}
    assert widened == {torch.float32}
    assert {dtype for dtype, norm, trained in dtypes if not (norm and trained)} == {torch.bfloat16}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(models.reference(IDS).logits, models.policy(IDS).logits)


def test_a_reference_under_a_trained_tied_head_reads_the_embeddings_in_float32() -> None:
    models = ModelSet.build(tiny_opt().bfloat16(), Settings())
    assert models.reference.get_input_embeddings().weight.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(models.reference(IDS).logits, models.policy(IDS).logits)


def test_a_snapshot_leaves_the_model_alone() -> None:
    model = tiny_gpt2().train()
    copied = Snapshot(model).model
    assert not copied.training
    assert model.training
    assert trainable(model) == {name for name, _ in model.named_parameters()}
    assert [p.data_ptr() for p in copied.parameters()] == [p.data_ptr() for p in model.parameters()]
