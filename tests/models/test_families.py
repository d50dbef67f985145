"""The arguments of a pass over whole texts, and the text of families that are not known to read left padding."""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model

from genrlhf.models.completions import completion_logits
from genrlhf.models.families import family_of, forward_arguments, reads_left_padding
from genrlhf.models.freezing import disable_dropout
from genrlhf.models.last_positions import can_limit
from genrlhf.models.structure import context_length, decoder_layers
from genrlhf.types import Tokens
from tests.decoders.configs import build
from tests.helpers import PAD_ID, tiny_llama

PROMPT = torch.tensor([[PAD_ID] * 3 + [5, 6], [4, 5, 6, 7, 8]])
COMPLETION = torch.tensor([[12, 13, 14], [13, PAD_ID, PAD_ID]])


def test_a_family_is_that_of_the_model_inside() -> None:
    adapter = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    assert family_of(get_peft_model(tiny_llama(), adapter)) == "llama"
    assert reads_left_padding(tiny_llama()) and not reads_left_padding(build("rwkv"))


def test_arguments_are_those_that_the_model_takes() -> None:
    mask = PROMPT != PAD_ID
    given = forward_arguments(tiny_llama(), PROMPT, mask)
    assert given["position_ids"].tolist() == [[0, 0, 0, 0, 1], [0, 1, 2, 3, 4]]
    assert given["use_cache"] is False and "output_router_logits" not in given
    assert forward_arguments(build("mixtral"), PROMPT, mask)["output_router_logits"] is False
    assert "position_ids" not in forward_arguments(build("bloom"), PROMPT, mask)
    assert "position_ids" not in forward_arguments(tiny_llama(), PROMPT, mask, positions=False)


def test_unknown_families_read_text_with_all_padding_on_the_right() -> None:
    model, seen = build("bloom"), []
    model.register_forward_pre_hook(lambda _m, _a, kwargs: seen.append(kwargs), with_kwargs=True)
    completion_logits(model, Tokens(PROMPT, PROMPT != PAD_ID, COMPLETION, COMPLETION != PAD_ID))
    (given,) = seen
    assert given["attention_mask"].tolist() == [[1] * 5 + [0] * 3, [1] * 6 + [0] * 2]
    assert given["input_ids"][0, :5].tolist() == [5, 6, 12, 13, 14]
    assert given["input_ids"][1, :6].tolist() == [4, 5, 6, 7, 8, 13]


def test_a_recurrent_last_layer_runs_whole() -> None:
    for name, wanted in (("qwen3_next", True), ("qwen3_next:reversed", False), ("lfm2:reversed", False)):
        model = build(name)
        assert can_limit(decoder_layers(model)[-1], model.config) == wanted, name


def test_routers_have_no_noise_without_dropout_and_decide_as_before() -> None:
    ids = torch.tensor([[40, 41, 42, 43]])
    model = build("mixtral", router_jitter_noise=0.1)
    with torch.no_grad():
        before = model(ids, output_router_logits=False).logits
        model.train()
        assert not torch.equal(model(ids, output_router_logits=False).logits, before)
        disable_dropout(model)
        torch.testing.assert_close(model(ids, output_router_logits=False).logits, before, rtol=0, atol=0)
        model = build("phimoe", router_jitter_noise=0.1)
        before = model(ids, output_router_logits=False).logits
        disable_dropout(model)
        torch.testing.assert_close(model(ids, output_router_logits=False).logits, before, rtol=0, atol=0)


def test_a_negative_length_is_no_limit() -> None:
    assert context_length(build("xlnet")) is None
    assert context_length(tiny_llama()) == 64
