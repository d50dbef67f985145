"""A policy and its values in one forward pass."""

from __future__ import annotations

import warnings

import pytest
import torch

from genrlhf.models.completions import completion_logits
from genrlhf.models.heads import ScalarHead
from genrlhf.models.policy import PolicyWithValue
from genrlhf.types import Tokens
from tests.helpers import tiny_llama
from tests.models.test_completions import COMPLETIONS, FAMILIES, padded, unpadded_logits


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
def test_policy_with_value_scores_completions(family: str, temperature: float) -> None:
    model = FAMILIES[family]()
    width = model.get_output_embeddings().in_features
    head = ScalarHead(width, init="normal")
    policy = PolicyWithValue(model, head, temperature=temperature)
    batch = padded()
    with torch.no_grad():
        output = policy(*batch)
    assert output.logprobs.shape == output.entropy.shape == output.values.shape == batch[2].shape
    _, hidden = completion_logits(model, Tokens(*batch))
    for row, completion in enumerate(COMPLETIONS):
        log_p = (unpadded_logits(model, row).double() / temperature).log_softmax(-1)
        for t, token in enumerate(completion):
            assert output.logprobs[row, t].item() == pytest.approx(log_p[t, token].item(), abs=1e-4)
            assert output.entropy[row, t].item() == pytest.approx(-(log_p[t].exp() * log_p[t]).sum().item(), abs=1e-4)
            value = hidden[row, t] @ head.linear.weight[0] + head.linear.bias[0]
            assert output.values[row, t].item() == pytest.approx(value.item(), abs=1e-5)


def test_policy_with_value_trains_both_and_looks_like_a_model() -> None:
    model = tiny_llama()
    head = ScalarHead(16, init="normal")
    policy = PolicyWithValue(model, head, temperature=1.0)
    assert policy.config is model.config
    assert policy.device == torch.device("cpu")
    assert policy.is_gradient_checkpointing is False
    output = policy(*padded())
    mask = padded()[3]
    assert output.values is not None
    (output.logprobs[mask].sum() + output.values[mask].sum()).backward()
    gradients = {name: p.grad.abs().sum().item() for name, p in policy.named_parameters() if p.grad is not None}
    assert set(gradients) == {name for name, _ in policy.named_parameters()}
    assert all(total > 0 for total in gradients.values())
    policy.gradient_checkpointing_enable()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as one of a name that transformers has changed
        assert policy.is_gradient_checkpointing is True
    policy.train()
    again = policy(*padded())
    assert torch.allclose(again.logprobs, output.logprobs, atol=1e-6)
