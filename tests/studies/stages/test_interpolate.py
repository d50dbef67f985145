"""Weights between two models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from genrlhf.errors import ModelError
from genrlhf.models import load_causal_lm
from genrlhf.studies.stages.interpolate import interpolate
from tests.helpers import save_model, tiny_gpt2, tiny_llama, tiny_tokenizer


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_every_weight_lies_between(tmp_path: Path, make: object, alpha: float) -> None:
    models = [make(seed=seed) for seed in (0, 1)]  # type: ignore[operator]
    folders = [str(save_model(model, tiny_tokenizer(), tmp_path / str(i))) for i, model in enumerate(models)]
    interpolate(tmp_path / "between", *folders, alpha)
    found = load_causal_lm(str(tmp_path / "between")).state_dict()
    for name, start in models[0].state_dict().items():
        expected = (1 - alpha) * start + alpha * models[1].state_dict()[name]
        assert torch.allclose(found[name], expected, atol=1e-6), name


def test_adapters_are_merged_before(tmp_path: Path) -> None:
    base = str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base"))
    adapted = get_peft_model(load_causal_lm(base), LoraConfig(r=2, init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    tiny_tokenizer().save_pretrained(tmp_path / "adapter")
    interpolate(tmp_path / "between", base, str(tmp_path / "adapter"), 0.5)
    weights = [load_causal_lm(str(tmp_path / name)).state_dict() for name in ("base", "adapter", "between")]
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights[0][name], weights[1][name])
    assert torch.allclose(weights[2][name], (weights[0][name] + weights[1][name]) / 2, atol=1e-6)


def test_other_vocabularies_weights_and_shapes_are_refused(tmp_path: Path) -> None:
    folder = str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "llama"))
    larger = tiny_tokenizer()
    larger.add_tokens(["more"])
    others = {
        "their vocabularies differ": save_model(tiny_llama(vocab_size=300), larger, tmp_path / "vocabulary"),
        "only one of them has the weights": save_model(tiny_gpt2(), tiny_tokenizer(), tmp_path / "gpt2"),
        "have the shapes": save_model(tiny_llama(intermediate_size=16), tiny_tokenizer(), tmp_path / "narrow"),
    }
    for message, other in others.items():
        with pytest.raises(ModelError, match=message):
            interpolate(tmp_path / "between", folder, str(other), 0.5)
    assert not (tmp_path / "between").exists()
