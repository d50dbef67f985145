"""A trunk and its tops against whole models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from genrlhf.models import freeze_layers
from genrlhf.models.completions import classifier_scores, completion_logits
from genrlhf.models.reference import frozen_copy
from genrlhf.models.sharing import share_trunk
from genrlhf.models.trunk import Trunk, trunk_depth, trunk_states
from genrlhf.types import Tokens
from tests.helpers import PAD_ID, tiny_llama
from tests.sampling.families import FAMILIES, PLAIN_FAMILIES

PROMPT = torch.tensor([[PAD_ID] * 3 + [5, 6, 7, 8, 9, 10], [4, 5, 6, 7, 8, 9, 10, 11, 12]])
COMPLETION = torch.tensor([[12, 13, 14, 15], [13, 14, 15, PAD_ID]])
TOKENS = (PROMPT, PROMPT != PAD_ID, COMPLETION, COMPLETION != PAD_ID)


def states(model: Any, depth: int) -> torch.Tensor:
    return trunk_states(model, depth, torch.cat(TOKENS[::2], dim=1), torch.cat(TOKENS[1::2], dim=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_top_on_the_trunk_equals_the_whole_model(family: str) -> None:
    model = FAMILIES[family]()
    freeze_layers(model, 0.5)
    depth = trunk_depth(model)
    assert depth == 1
    trunk = Trunk(depth, states(model, depth))
    counted = 0

    def count(*_: Any) -> None:
        nonlocal counted
        counted += 1

    for layer in (m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 2):
        layer[0].register_forward_hook(count)
    got = completion_logits(model, Tokens(*TOKENS), trunk=trunk)
    assert counted == 0
    want = completion_logits(model, Tokens(*TOKENS))
    assert counted == 1
    mask = TOKENS[3]
    for found, whole in zip(got, want, strict=True):
        torch.testing.assert_close(found[mask], whole[mask], atol=1e-6, rtol=1e-5)
    wanted = torch.autograd.grad(want[0][mask].square().sum(), [p for p in model.parameters() if p.requires_grad])
    gradients = torch.autograd.grad(got[0][mask].square().sum(), [p for p in model.parameters() if p.requires_grad])
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_classifier_of_the_same_trunk(family: str) -> None:
    policy = FAMILIES[family]()
    freeze_layers(policy, 0.5)
    config = policy.config
    config.num_labels = 1
    torch.manual_seed(1)
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    if config._attn_implementation == "eager":
        classifier.set_attn_implementation("eager")
    assert not share_trunk(classifier, policy, 1)
    assert not any(p is q for p in classifier.parameters() for q in policy.parameters())
    classifier.base_model.load_state_dict(policy.base_model.state_dict())
    assert not share_trunk(classifier, policy, 1)  # it is going to be trained
    assert share_trunk(classifier.requires_grad_(False), policy, 1)
    shared = {id(p) for p in classifier.parameters()} & {id(p) for p in policy.parameters()}
    frozen = [p for p in policy.base_model.parameters() if not p.requires_grad]
    assert len(frozen) - 2 <= len(shared) <= len(frozen)
    got = classifier_scores(classifier, Tokens(*TOKENS), trunk=Trunk(1, states(policy, 1)))
    want = classifier_scores(classifier, Tokens(*TOKENS))
    torch.testing.assert_close(got[:, 1:][TOKENS[3]], want[:, 1:][TOKENS[3]], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got[:, 0], want[:, 0], atol=1e-6, rtol=1e-5)


def test_reference_shares_the_trunk_and_keeps_its_top() -> None:
    model = tiny_llama()
    freeze_layers(model, 0.5)
    reference = frozen_copy(model)
    trunk = Trunk(1, states(model, 1))
    before, _ = completion_logits(reference, Tokens(*TOKENS), trunk=trunk)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1)
    torch.testing.assert_close(completion_logits(reference, Tokens(*TOKENS), trunk=trunk)[0], before, rtol=0, atol=0)
    assert not torch.allclose(completion_logits(model, Tokens(*TOKENS), trunk=trunk)[0], before)


def test_depth_of_models_without_a_trunk() -> None:
    assert trunk_depth(tiny_llama()) == 0
    for part in ("embed_tokens", "layers.0"):
        model = tiny_llama()
        freeze_layers(model, 0.5)
        model.model.get_submodule(part).requires_grad_(True)
        assert trunk_depth(model) == 0, part
    opt = FAMILIES["opt"]()
    freeze_layers(opt, 0.5)
    opt.model.decoder.embed_positions.requires_grad_(True)
    assert trunk_depth(opt) == 0


def test_other_families_have_none_and_a_warning_says_so() -> None:
    model = PLAIN_FAMILIES["falcon"]()
    freeze_layers(model, 0.5)
    with pytest.warns(UserWarning, match="'falcon' are not known to be separable"):
        assert trunk_depth(model) == 0
