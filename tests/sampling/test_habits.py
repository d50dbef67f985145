"""What a model is tried out for, and what it is refused for then."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BloomForCausalLM

from genrlhf.errors import ModelError
from genrlhf.models import disable_dropout
from genrlhf.sampling.comparable import refuse_reading_ahead
from genrlhf.sampling.habits import Habits, habits_of, reads_ahead
from tests.decoders.configs import build


class DeafBloom(BloomForCausalLM):
    """A stranger's model that takes an attention mask and does not heed it."""

    def forward(self, *args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        mask = None if attention_mask is None else torch.ones_like(attention_mask)
        return super().forward(*args, attention_mask=mask, **kwargs)


def deaf_bloom() -> DeafBloom:
    model = build("bloom")
    model.__class__ = DeafBloom
    return model  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "habits"),
    [
        ("bloom", Habits(True, True, True)),
        ("mamba", Habits(True, True, True)),
        ("roformer", Habits(True, False, True)),
        ("rwkv", Habits(False, False, True)),
        ("roberta", Habits(True, True, False)),
    ],
)
def test_habits_are_found_out(name: str, habits: Habits) -> None:
    model = build(name).train()
    assert habits_of(model) == habits
    assert model.training


def test_habits_of_a_strangers_model_in_two_precisions() -> None:
    assert habits_of(deaf_bloom()) == Habits(True, False, True)
    assert habits_of(deaf_bloom().to(torch.bfloat16)) == Habits(True, False, True)
    assert habits_of(build("bloom").to(torch.bfloat16)) == Habits(True, True, True)


def test_habits_are_tried_out_once() -> None:
    model, calls = build("bloom"), []
    model.register_forward_hook(lambda *_: calls.append(1))
    habits_of(model)
    first = len(calls)
    habits_of(model)
    assert len(calls) == first > 0


class SeeingBloom(BloomForCausalLM):
    """A stranger's model that reads a text from its end."""

    def forward(self, input_ids: torch.Tensor | None = None, **kwargs: Any) -> Any:
        assert input_ids is not None
        output = super().forward(input_ids=input_ids.flip(1), **kwargs)
        output.logits = output.logits.flip(1)
        return output


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adapted", [False, True])
def test_a_strangers_model_that_reads_ahead(dtype: torch.dtype, adapted: bool) -> None:
    model: Any = build("bloom").to(dtype)
    model.__class__ = SeeingBloom
    if adapted:
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["query_key_value"]))
    model.train()
    with pytest.raises(ModelError, match="ref_model is of type 'bloom', whose forward pass reads the tokens"):
        refuse_reading_ahead(model, device="cpu", label="ref_model")
    assert model.training


def test_dropout_does_not_look_like_reading_ahead() -> None:
    model = build("bloom", hidden_dropout=0.5, attention_dropout=0.5).train()
    assert not reads_ahead(model)
    disable_dropout(model)
    assert not reads_ahead(model)
