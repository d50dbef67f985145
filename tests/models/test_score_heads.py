"""Heads of classifiers: how they start, and what they compute in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from genrlhf.models import reset_score_head
from genrlhf.models.score_heads import score_in_float32
from tests.helpers import VOCAB_SIZE, tiny_reward_model

CLASSIFIERS = [
    *("albert", "bert", "deberta-v2", "distilbert", "electra", "gpt2", "gpt_neox", "llama", "modernbert", "mpnet"),
    *("opt", "roberta", "xlm-roberta", "xlnet"),
]


def classifier(kind: str, **settings: Any) -> Any:
    """A sequence classifier of two layers with one label; `settings` go to its config."""
    names = {"distilbert": {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}}
    names["xlnet"] = {"d_model": 16, "d_inner": 32, "n_layer": 2, "n_head": 2}
    names["opt"] = {"word_embed_proj_dim": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    names["bart"] = {"d_model": 16, "encoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_layers": 2}
    names["t5"] = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2}
    names["xlm"] = names["flaubert"] = {"emb_dim": 16, "n_layers": 2, "n_heads": 2}
    own = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape = {**names.get(kind, own), **settings}
    config = AutoConfig.for_model(
        kind, vocab_size=VOCAB_SIZE, num_labels=1, pad_token_id=0, initializer_range=0.3, **shape
    )
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config).eval()


def test_reset_score_head_draws_the_published_deviation() -> None:
    torch.manual_seed(0)
    draws = []
    model = tiny_reward_model(hidden_size=128, num_hidden_layers=1, vocab_size=8)
    untouched = {name: p.clone() for name, p in model.named_parameters() if not name.startswith("score")}
    for _ in range(100):
        reset_score_head(model)
        draws.append(model.score.weight.detach().flatten().clone())
    weights = torch.cat(draws)
    assert weights.std().item() == pytest.approx(1 / math.sqrt(129), rel=0.03)
    assert abs(weights.mean().item()) < 3 / math.sqrt(129 * len(weights))
    assert not torch.equal(draws[0], draws[1])
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[name], before) for name, before in untouched.items())
    torch.manual_seed(7)
    reset_score_head(model)
    first = model.score.weight.clone()
    torch.manual_seed(7)
    reset_score_head(model)
    assert torch.equal(model.score.weight, first)


def test_reset_score_head_finds_the_last_layer_of_a_deeper_head() -> None:
    config = RobertaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
    )
    model = RobertaForSequenceClassification(config)
    dense = model.classifier.dense.weight.clone()
    with torch.no_grad():
        model.classifier.out_proj.weight.zero_()
        model.classifier.out_proj.bias.fill_(3.0)
    reset_score_head(model)
    assert isinstance(model.classifier.out_proj, nn.Linear)
    assert model.classifier.out_proj.weight.abs().sum().item() > 0
    assert model.classifier.out_proj.bias.item() == 0.0
    assert torch.equal(model.classifier.dense.weight, dense)


def scores(model: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12], [20, 30, 40, 50]])
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_scores_are_float32_whatever_the_model_computes_in(kind: str, tmp_path: Path) -> None:
    plain = scores(classifier(kind))
    model = classifier(kind)
    score_in_float32(model)
    torch.testing.assert_close(scores(model), plain, rtol=0, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = scores(model)
    low = classifier(kind).bfloat16()
    score_in_float32(low)
    for found in (mixed, scores(low)):
        assert found.dtype == torch.float32
        assert not torch.equal(found, found.bfloat16().float())
        torch.testing.assert_close(found, plain, rtol=0.1, atol=0.1)
    # Plain transformers loads what is saved, to the same scores.
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype="float32").eval()
    torch.testing.assert_close(scores(loaded), plain, rtol=0, atol=0)


def test_a_quantised_or_adapted_layer_keeps_its_class() -> None:
    class Other(nn.Linear):
        pass

    model = tiny_reward_model()
    model.score = Other(16, 1, bias=False)
    score_in_float32(model)
    assert type(model.score) is Other
