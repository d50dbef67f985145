"""Pairs in one row are scored as each text is alone, with its gradients, in whichever family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from genrlhf.models import freeze_layers, packed_pairs
from genrlhf.models.packed_pairs import pair_scores, pairs_behind_prompts, reads_pairs
from genrlhf.models.structure import decoder_layers
from tests.decoders.configs import build_classifier
from tests.helpers import EOS_ID, PAD_ID, tiny_reward_model
from tests.models.test_shared_prompts import FAMILIES


def batch() -> torch.Tensor:
    """Three pairs that begin with 10, 12 and 9 tokens alike, right-padded: (6, L)."""
    texts = [[*range(10, 10 + 9 + extra), *rest, EOS_ID] for extra, rest in ((1, []), (3, [98, 97, 96]), (0, [99]))]
    others = [[*range(10, 10 + 9 + extra), *rest, EOS_ID] for extra, rest in ((1, [54, 53]), (3, [55]), (0, []))]
    width = max(map(len, texts + others))
    return torch.tensor([row + [PAD_ID] * (width - len(row)) for row in texts + others])


def compare(model: Any) -> None:
    ids = batch()
    groups = pairs_behind_prompts(ids, ids != PAD_ID)
    assert groups is not None
    ours = pair_scores(model, groups, PAD_ID)
    whole = model(input_ids=ids, attention_mask=(ids != PAD_ID).long()).logits.squeeze(-1)[[0, 3, 1, 4, 2, 5]]
    torch.testing.assert_close(ours, whole.float(), atol=2e-6, rtol=2e-6)
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad(each.tanh().sum(), trained, allow_unused=True) for each in (ours, whole)]
    largest = max(float(each.abs().max()) for each in gradients[1] if each is not None)
    for one, other in zip(*gradients, strict=True):
        if other is None:
            assert one is None
        else:
            torch.testing.assert_close(one, other, atol=3e-6 * largest, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_in_one_row_has_scores_and_gradients_of_whole_texts(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_pairs, "PAIRS_OF_LIKE_LENGTH", 2)
    model: Any = build_classifier(family)
    if not reads_pairs(model, PAD_ID):
        assert getattr(model.config, "sliding_window", None) is not None
        return
    compare(model)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["frozen", "lora"])
def test_frozen_layers_and_adapters(kind: str, attention: str) -> None:
    model: Any = tiny_reward_model()
    model.set_attn_implementation(attention)
    if kind == "frozen":
        freeze_layers(model, 0.5)
    else:
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=2))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    assert reads_pairs(model, PAD_ID)
    compare(model)


def test_pairs_lie_behind_what_both_texts_begin_with() -> None:
    ids = batch()
    groups = pairs_behind_prompts(ids, ids != PAD_ID)
    assert groups is not None
    assert [len(group.prefix) for group in groups] == [10, 12, 9]
    assert [group.places for group in groups] == [[0, 3], [1, 4], [2, 5]]
    ids[4, 2] = 77
    assert pairs_behind_prompts(ids, ids != PAD_ID) is None


def test_the_last_layer_computes_what_scores_are_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_pairs, "PAIRS_OF_LIKE_LENGTH", 2)
    model: Any = tiny_reward_model()
    groups = pairs_behind_prompts(batch(), batch() != PAD_ID)
    assert groups is not None
    seen: list[tuple[int, ...]] = []
    for layer in decoder_layers(model):
        layer.mlp.register_forward_hook(lambda _module, args, _output: seen.append(tuple(args[0].shape[:2])))
    pair_scores(model, groups, PAD_ID)
    assert seen == [(2, 14), (2, 2), (1, 18), (1, 2)]


def test_a_class_that_sees_all_that_was_before_is_found_out_by_trying() -> None:
    model: Any = tiny_reward_model()
    forward = type(model.model).forward

    class Causal(type(model.model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            mask = kwargs.get("attention_mask")
            return forward(
                self, *args, **{**kwargs, "attention_mask": None if mask is None or mask.dim() > 2 else mask}
            )

    assert reads_pairs(model, PAD_ID)
    other: Any = tiny_reward_model()
    other.model.__class__ = Causal
    assert not reads_pairs(other, PAD_ID)
