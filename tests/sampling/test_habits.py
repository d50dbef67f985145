"""What a model is tried out for, and what it is refused for then."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BloomForCausalLM

from genrlhf.errors import ModelError
from genrlhf.models import disable_dropout
from genrlhf.sampling.habits import (
    Habits,
    _on,
    habits_of,
    reads_ahead,
    refuse_reading_ahead,
    refuse_unless_comparable,
)
from tests.decoders.configs import DECODERS, NOT_IN_PPO, UNLIKE_ANY_SAMPLER, build, known


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


@pytest.mark.parametrize("name", map(known, DECODERS))
def test_what_is_trained_on_its_draws_has_their_probabilities(name: str) -> None:
    model = build(name)
    kind = repr(model.config.model_type)
    for own_draws, refused in ((True, NOT_IN_PPO), (False, UNLIKE_ANY_SAMPLER)):
        if name in refused:
            with pytest.raises(ModelError, match=kind):
                refuse_unless_comparable(model, own_draws=own_draws, device="cpu")
        else:
            refuse_unless_comparable(model, own_draws=own_draws, device="cpu")
    assert reads_ahead(model) == (name == "xlnet")


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


def test_a_model_is_tried_out_where_it_is_going_to_run() -> None:
    model, moves = build("bloom"), []
    with patch.object(model, "to", side_effect=lambda device: moves.append(str(device))):
        refuse_unless_comparable(model, own_draws=True, device="cpu")
        assert moves == []
        # Its code would run there: nothing but the move is asked for here.
        with _on(model, "meta"):
            assert moves == ["meta"]
        assert moves == ["meta", "cpu"]
        model.hf_device_map = {"": "cpu"}
        with _on(model, "meta"):
            assert len(moves) == 2
