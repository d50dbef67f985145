"""A digest of weights changes with the weights and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from genrlhf.data.asking import Asking
from genrlhf.models.fingerprint import model_fingerprint, module_fingerprint, tokenizer_fingerprint
from tests.helpers import save_model, tiny_llama, tiny_tokenizer


def test_same_weights_same_digest_and_a_trained_layer_another(tmp_path: Path) -> None:
    model = tiny_llama(hidden_size=64, num_hidden_layers=5)
    first = model_fingerprint(str(save_model(model, None, tmp_path / "first")))
    assert model_fingerprint(str(save_model(model, None, tmp_path / "copy"))) == first
    with torch.no_grad():
        for parameter in model.model.layers[-1].parameters():
            parameter += 1e-4
    assert model_fingerprint(str(save_model(model, None, tmp_path / "trained"))) != first


def test_how_a_model_is_asked_counts(tmp_path: Path) -> None:
    first = model_fingerprint(str(save_model(tiny_llama(), None, tmp_path)))
    Asking(after=" A good one:").save(tmp_path)
    assert model_fingerprint(str(tmp_path)) != first


def test_a_name_on_the_hub_stands_for_itself() -> None:
    assert model_fingerprint("some/model") == "some/model"


def test_config_tokenizer_and_the_base_of_an_adapter_count(tmp_path: Path) -> None:
    def saved(name: str, base: str, **settings: object) -> str:
        model = tiny_llama(**settings)
        model.config._name_or_path = base
        return str(save_model(model, tiny_tokenizer(), tmp_path / name))

    first, copy = saved("first", "here"), saved("copy", "there")
    assert model_fingerprint(first) == model_fingerprint(copy)
    assert model_fingerprint(saved("eps", "here", rms_norm_eps=1e-2)) != model_fingerprint(first)
    adapters = []
    for base in (first, copy, saved("other", "here", seed=1)):
        torch.manual_seed(0)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(target_modules=["q_proj"]))
        model.save_pretrained(tmp_path / f"adapter-{len(adapters)}")
        adapters.append(model_fingerprint(str(tmp_path / f"adapter-{len(adapters)}")))
    assert adapters[0] == adapters[1] != adapters[2]
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "adapter-0", moved)
    shutil.copytree(copy, moved / "base_model")
    assert model_fingerprint(str(moved)) == adapters[0]


def test_modules_in_memory(tmp_path: Path) -> None:
    first = module_fingerprint(tiny_llama())
    assert module_fingerprint(tiny_llama()) == first
    loaded = AutoModelForCausalLM.from_pretrained(save_model(tiny_llama(), None, tmp_path / "saved"))
    assert module_fingerprint(loaded) == first
    others = [tiny_llama(seed=1), tiny_llama(rms_norm_eps=1e-2), tiny_llama().bfloat16(), tiny_llama(rope_theta=5.0)]
    assert len({first, *map(module_fingerprint, others)}) == 5


def test_tokenizers() -> None:
    first = tokenizer_fingerprint(tiny_tokenizer())
    used = tiny_tokenizer()
    used(["ab", "abc"], padding=True, truncation=True, max_length=2)
    assert tokenizer_fingerprint(used) == first
    assert tokenizer_fingerprint(tiny_tokenizer(chat_template=True)) != first
    grown = tiny_tokenizer()
    grown.add_tokens(["<new>"])
    assert tokenizer_fingerprint(grown) != first
