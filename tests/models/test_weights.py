"""Saved weights come back into a model that already exists, or an error says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from genrlhf.errors import ModelError
from genrlhf.models.weights import load_weights
from tests.helpers import tiny_gpt2, tiny_llama, tiny_opt, tiny_reward_model

FAMILIES = [tiny_llama, tiny_gpt2, tiny_opt, tiny_reward_model]


def equal(one: Any, other: Any) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def tied_llama(seed: int = 0) -> Any:
    return tiny_llama(seed=seed, tie_word_embeddings=True)


@pytest.mark.parametrize("build", [*FAMILIES, tied_llama])
@pytest.mark.parametrize("shard", ["1GB", "10KB"])
def test_weights_come_back(build: Any, shard: str, tmp_path: Path) -> None:
    saved, other = build(seed=0), build(seed=1)
    saved.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "10KB")
    assert not equal(other, saved)
    parameters = [p.data_ptr() for p in other.parameters()]
    load_weights(other, tmp_path)
    assert equal(other, saved)
    assert [p.data_ptr() for p in other.parameters()] == parameters


def of_family(name: str, seed: int) -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "moe_intermediate_size": 8, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_experts": 2, "num_local_experts": 2}
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, vocab_size=32, **sizes, **heads))


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral", "qwen3_moe"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_saved_under_other_names_come_back(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    saved, other = of_family(name, 0).to(dtype), of_family(name, 1).to(dtype)
    saved.save_pretrained(tmp_path)
    assert not set(load_file(tmp_path / "model.safetensors")) <= set(saved.state_dict())
    load_weights(other, tmp_path)
    assert equal(other, saved)
    assert {p.dtype for p in other.parameters()} == {dtype}
    with pytest.raises(ModelError, match="holds weights of another model"):
        load_weights(tiny_llama(), tmp_path)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    tied_llama().save_pretrained(tmp_path)
    other = tied_llama(seed=1)
    load_weights(other, tmp_path)
    assert other.lm_head.weight is other.model.embed_tokens.weight
    assert torch.equal(other.lm_head.weight, tied_llama().model.embed_tokens.weight)


def lora(base: Any, seed: int) -> Any:
    torch.manual_seed(seed)
    return get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=2, init_lora_weights=False))


def test_adapter_weights_come_back(tmp_path: Path) -> None:
    saved, other = lora(tiny_llama(), seed=0), lora(tiny_llama(), seed=1)
    saved.save_pretrained(tmp_path)
    assert not equal(other, saved)
    load_weights(other, tmp_path)
    assert equal(other, saved)


def test_adapter_of_another_model_or_none(tmp_path: Path) -> None:
    lora(tiny_llama(), seed=0).save_pretrained(tmp_path / "two")
    with pytest.raises(ModelError, match="of another model"):
        load_weights(lora(tiny_llama(num_hidden_layers=1), seed=0), tmp_path / "two")
    with pytest.raises(ModelError, match="lacks the weights"):
        load_weights(lora(tiny_llama(num_hidden_layers=3), seed=0), tmp_path / "two")
    with pytest.raises(ModelError, match=r"There is no adapter_model\.safetensors in"):
        load_weights(lora(tiny_llama(), seed=0), tmp_path)


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    tiny_gpt2().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ModelError, match=r"model\.safetensors holds weights of another model: transformer\."):
        load_weights(tiny_llama(), tmp_path / "gpt2")
    tiny_llama(num_hidden_layers=3).save_pretrained(tmp_path / "deeper")
    with pytest.raises(ModelError, match=r"of another model: model\.layers\.2\."):
        load_weights(tiny_llama(), tmp_path / "deeper")
    tiny_llama(intermediate_size=20).save_pretrained(tmp_path / "narrower")
    with pytest.raises(ModelError, match=r"of another model: .*size mismatch for model\.layers\.0\.mlp"):
        load_weights(tiny_llama(), tmp_path / "narrower")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    tiny_llama(num_hidden_layers=1).save_pretrained(tmp_path / "shallow")
    with pytest.raises(ModelError, match=r"lacks the weights model\.layers\.1\..* of the model"):
        load_weights(tiny_llama(), tmp_path / "shallow")
    # A head that is tied in the file and untied in the model would stay what it was.
    tied_llama().save_pretrained(tmp_path / "tied")
    with pytest.raises(ModelError, match=r"lacks the weights lm_head\.weight"):
        load_weights(tiny_llama(), tmp_path / "tied")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no model\.safetensors in"):
        load_weights(tiny_llama(), tmp_path)
    tiny_llama().save_pretrained(tmp_path, max_shard_size="10KB")
    first = sorted(tmp_path.glob("*.safetensors"))[0]
    first.unlink()
    with pytest.raises(ModelError, match=f"There is no .*{first.name}"):
        load_weights(tiny_llama(), tmp_path)


def test_nothing_is_lost_where_a_weight_is_missing_from_the_file(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    del state["model.norm.weight"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks the weights model\.norm\.weight of the model"):
        load_weights(tiny_llama(), tmp_path)
