"""What two models must have in common before one trunk serves both."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from genrlhf.models import disable_dropout, freeze_layers
from genrlhf.models.sharing import share_trunk
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES


def pair(family: str, **changes: Any) -> tuple[Any, Any]:
    """A policy with a trunk of one layer, and a classifier with its weights whose config differs in `changes`."""
    policy = FAMILIES[family]()
    freeze_layers(policy, 0.5)
    config = copy.deepcopy(policy.config)
    config.num_labels = 1
    for name, value in changes.items():
        assert getattr(config, name) != value, name
        setattr(config, name, value)
    classifier = AutoModelForSequenceClassification.from_config(config).eval().requires_grad_(False)
    classifier.base_model.load_state_dict(policy.base_model.state_dict())
    return classifier, policy


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 77.0}}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        ("llama", {"rms_norm_eps": 0.5}),
        ("llama", {"hidden_act": "gelu"}),
        ("gpt2", {"layer_norm_epsilon": 0.5}),
        ("gpt2", {"activation_function": "relu"}),
        ("gpt2", {"scale_attn_weights": False}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("opt", {"activation_function": "gelu"}),
        ("mistral", {"sliding_window": 3}),
        ("qwen2_sliding", {"layer_types": ["sliding_attention", "sliding_attention"]}),
        ("gemma2", {"attn_logit_softcapping": 3.0}),
        ("gemma2", {"query_pre_attn_scalar": 9}),
        ("gemma3", {"layer_types": ["full_attention", "full_attention"]}),
        ("gpt_neox", {"use_parallel_residual": False}),
    ],
)
def test_another_setting_of_a_layer_keeps_the_trunks_apart(family: str, changes: dict[str, Any]) -> None:
    assert not share_trunk(*pair(family, **changes), 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_no_layer_reads_does_not(family: str) -> None:
    changes = {"pad_token_id": 3, "eos_token_id": 4, "use_cache": False, "genrlhf_reward_gain": 2.0}
    classifier, policy = pair(family)
    for name, value in changes.items():
        setattr(classifier.config, name, value)
    classifier.config._name_or_path = "elsewhere"
    disable_dropout(policy)
    assert share_trunk(classifier, policy, 1)


def test_a_deeper_model_of_the_same_first_layers() -> None:
    classifier, policy = pair("llama")
    deep = copy.deepcopy(classifier)
    deep.model.layers.append(copy.deepcopy(deep.model.layers[-1]))
    deep.config.num_hidden_layers = 3
    assert share_trunk(deep, policy, 1)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("model.layers.0.input_layernorm", "variance_epsilon", 0.5),
        ("model.layers.0.self_attn", "scaling", 0.1),
        ("model.rotary_emb", "attention_scaling", 2.0),
    ],
)
def test_a_number_that_was_set_by_hand(part: str, name: str, value: float) -> None:
    classifier, policy = pair("llama")
    assert isinstance(getattr(policy.get_submodule(part), name), float)
    setattr(classifier.get_submodule(part), name, value)
    assert not share_trunk(classifier, policy, 1)


def test_another_class_of_layer() -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    classifier, policy = pair("llama")
    classifier.model.layers[0].mlp.up_proj.__class__ = Doubled
    assert not share_trunk(classifier, policy, 1)


def test_buffers_are_compared() -> None:
    classifier, policy = pair("llama")
    classifier.model.rotary_emb.inv_freq[0] *= 1.01
    assert not share_trunk(classifier, policy, 1)
    classifier, policy = pair("llama")
    classifier.model.rotary_emb.inv_freq = classifier.model.rotary_emb.inv_freq.bfloat16()
    assert not share_trunk(classifier, policy, 1)


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_trained_is_not_shared(which: int) -> None:
    models = pair("llama")
    models[which].model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    assert not share_trunk(*models, 1)


def test_other_dtypes_depths_and_families() -> None:
    classifier, policy = pair("llama")
    assert not share_trunk(classifier, policy, 0)
    classifier.model.layers[0].bfloat16()
    assert not share_trunk(classifier, policy, 1)
    falcon = PLAIN_FAMILIES["falcon"]().requires_grad_(False)
    assert not share_trunk(copy.deepcopy(falcon), falcon, 1)
