"""What is frozen, what is shared, and what has no dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import BOFTConfig, LoHaConfig, LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, FalconConfig, FalconForCausalLM, GPTJConfig, GPTJForCausalLM

from genrlhf.errors import ConfigError
from genrlhf.models import decoder_layers, disable_dropout, freeze_layers
from genrlhf.models.structure import modules_above_layers
from genrlhf.models.trunk import trunk_depth
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt, tiny_reward_model
from tests.models.test_score_heads import classifier
from tests.sampling.families import build as build_family


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_a_decoder_without_layers_to_be_found_has_no_trunk() -> None:
    config = AutoConfig.for_model("xlm", vocab_size=8, emb_dim=8, n_layers=2, n_heads=2, causal=True)
    assert trunk_depth(AutoModelForCausalLM.from_config(config)) == 0


@pytest.mark.parametrize(
    ("layers", "fraction", "frozen"),
    [
        (4, 0.8, 3),
        (5, 0.8, 4),
        (30, 0.8, 24),
        (12, 0.8, 10),
        (2, 0.8, 1),
        (1, 0.8, 0),
        (4, 0.5, 2),
        (4, 0.999, 3),
        (4, 0.0, 0),
        (10, 0.04, 0),
    ],
)
def test_how_many_layers_are_frozen(layers: int, fraction: float, frozen: int) -> None:
    model = tiny_llama(num_hidden_layers=layers, hidden_size=4, intermediate_size=4)
    everything = trainable(model)
    assert freeze_layers(model, fraction) == frozen
    if fraction == 0:
        assert trainable(model) == everything
        return
    expected = {f"model.layers.{i}." for i in range(frozen, layers)}
    assert trainable(model) == {name for name in everything if name.startswith(tuple(expected))}
    assert trainable(model)


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_opt])
def test_embeddings_head_and_norm_are_frozen_in_other_families(build: Any) -> None:
    model = build()
    last = decoder_layers(model)[1]
    assert freeze_layers(model, 0.5) == 1
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in last.parameters()}


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2", "electra", "distilbert", "modernbert", "mpnet"])
def test_heads_of_encoders_stay_trainable(kind: str) -> None:
    model = classifier(kind)
    assert freeze_layers(model, 0.5) == 1
    last = {id(p) for p in decoder_layers(model)[1].parameters()}
    head = {id(p) for part in modules_above_layers(model) for p in part.parameters()}
    assert {id(p) for p in model.parameters() if p.requires_grad} == last | head
    assert len(head) >= 2


def test_score_head_stays_trainable() -> None:
    model = tiny_reward_model()
    freeze_layers(model, 0.8)
    assert "score.weight" in trainable(model)
    assert all(name.startswith(("model.layers.1.", "score.")) for name in trainable(model))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_fraction_is_checked(fraction: float) -> None:
    with pytest.raises(ConfigError, match=rf"freeze_layers is the share of frozen layers, in \[0, 1\), not {fraction}"):
        freeze_layers(tiny_llama(), fraction)


def boft() -> BOFTConfig:
    return BOFTConfig(boft_block_size=2, boft_dropout=0.5, target_modules=["q_proj"], init_weights=False)


def loha(**settings: Any) -> LoHaConfig:
    return LoHaConfig(r=4, target_modules=["q_proj", "up_proj"], init_weights=False, **settings)


@pytest.mark.parametrize(
    "build",
    [
        tiny_gpt2,
        tiny_opt,
        lambda: tiny_opt(dropout=0.0, attention_dropout=0.5),
        lambda: tiny_opt(dropout=0.0, layerdrop=0.5),
        lambda: tiny_llama(attention_dropout=0.5),
        lambda: get_peft_model(tiny_llama(), LoraConfig(r=2, lora_dropout=0.5, init_lora_weights=False)),
        lambda: get_peft_model(tiny_llama(), boft()),
        lambda: get_peft_model(tiny_llama(), loha(rank_dropout=0.5)),
        lambda: get_peft_model(tiny_llama(), loha(module_dropout=0.5)),
        lambda: build_family(FalconForCausalLM, FalconConfig, attention_dropout=0.5, hidden_dropout=0.5),
        lambda: build_family(GPTJForCausalLM, GPTJConfig, rotary_dim=4, attn_pdrop=0.5),
    ],
    ids=[
        *("gpt2", "opt", "opt attention", "opt layers", "llama attention"),
        *("lora", "boft", "loha ranks", "loha modules", "falcon", "gptj"),
    ],
)
def test_without_dropout_training_mode_is_deterministic(build: Any) -> None:
    model = build().train()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert any(not torch.equal(model(ids).logits, model(ids).logits) for _ in range(5))
    disable_dropout(model)
    in_training = model(ids).logits
    assert all(torch.equal(in_training, model(ids).logits) for _ in range(5))
    assert torch.allclose(in_training, model.eval()(ids).logits, atol=1e-6)
