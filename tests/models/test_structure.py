"""Layers and heads are found, and the context is known, whatever the family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BloomConfig, BloomForCausalLM

from genrlhf.errors import ModelError
from genrlhf.models import decoder_layers, freeze_layers
from genrlhf.models.structure import context_length, modules_above_layers
from tests.helpers import tiny_bert, tiny_gpt2, tiny_llama, tiny_opt, tiny_reward_model
from tests.models.test_score_heads import CLASSIFIERS, classifier


@pytest.mark.parametrize(
    ("build", "path"),
    [(tiny_llama, "model.layers"), (tiny_gpt2, "transformer.h"), (tiny_opt, "model.decoder.layers")],
)
def test_layers_are_found_in_every_family(build: Any, path: str) -> None:
    model = build()
    assert decoder_layers(model) is model.get_submodule(path)


def test_layers_are_found_inside_an_adapter_and_a_classifier() -> None:
    model = tiny_llama()
    layers = model.model.layers
    assert decoder_layers(get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2))) is layers
    assert len(decoder_layers(tiny_reward_model())) == 2


def test_layers_that_are_not_there() -> None:
    model = tiny_llama()
    model.config.num_hidden_layers = 7
    with pytest.raises(ModelError, match="No list of 7 layers was found in the LlamaForCausalLM"):
        decoder_layers(model)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("albert", {"embedding_size": 8}, "The 2 layers of the AlbertForSequenceClassification share their weights"),
        ("xlm", {}, "The layers of the XLMForSequenceClassification are not one module each"),
        ("flaubert", {}, "The layers of the FlaubertForSequenceClassification are not one module each"),
        ("bart", {"encoder_layers": 2}, "BartForSequenceClassification has layers in its encoder and in its decoder"),
        ("t5", {"num_layers": 2}, "T5ForSequenceClassification has layers in its encoder and in its decoder"),
    ],
)
def test_layers_that_cannot_be_frozen_one_by_one(kind: str, settings: dict[str, Any], message: str) -> None:
    model = classifier(kind, **settings)
    with pytest.raises(ModelError, match=f"{message}; leave freeze_layers at 0"):
        freeze_layers(model, 0.5)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert freeze_layers(model, 0) == 0


def test_context_length() -> None:
    assert context_length(tiny_llama()) == 64
    assert context_length(tiny_gpt2()) == 64
    assert context_length(tiny_opt(max_position_embeddings=32)) == 32
    torch.manual_seed(0)
    # ALiBi: no positions to run out of.
    bloom = BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=1, n_head=2))
    assert context_length(bloom) is None


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_head_is_what_is_not_in_the_base_model_but_for_a_pooler(kind: str) -> None:
    model = classifier(kind)
    above = {id(p) for head in modules_above_layers(model) for p in head.parameters()}
    named = {name for name, parameter in model.named_parameters() if id(parameter) in above}
    words = ("score", "classifier", "pooler", "head.", "sequence_summary", "logits_proj")
    assert named == {name for name, _ in model.named_parameters() if any(word in name for word in words)} != set()


@pytest.mark.parametrize("build", [tiny_llama, tiny_bert])
def test_models_without_a_score_have_no_head(build: Any) -> None:
    assert modules_above_layers(build()) == []
