"""An adapter's folder loads to what plain PEFT makes of it, merged, and again after it was saved."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AutoPeftModelForCausalLM,
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    TrainableTokensConfig,
    VeraConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models import load_causal_lm, load_reward_model, load_tokenizer
from genrlhf.models.adapter_base import AdapterBase
from genrlhf.models.adapters import adapter_at
from tests.helpers import (
    EOS_ID,
    VOCAB_SIZE,
    save_model,
    tiny_gpt2,
    tiny_llama,
    tiny_opt,
    tiny_reward_model,
    tiny_tokenizer,
)

# PEFT warns of tied weights, of GPT-2's layers and of embeddings that it saves.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

IDS = torch.tensor([[40, 50, 60, 70, EOS_ID]])


def tied_llama() -> PreTrainedModel:
    return tiny_llama(tie_word_embeddings=True)


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(**{"task_type": "CAUSAL_LM", "r": 2, **settings})


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits


def train(model: Any) -> Any:
    """Move everything that is trained, as a few steps would."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def saved_adapter(base: Path, config: PeftConfig, folder: Path) -> torch.Tensor:
    """Save a trained adapter of the model in `base` and return the logits with it."""
    model = train(get_peft_model(AutoModelForCausalLM.from_pretrained(base), config))
    model.save_pretrained(folder)
    return logits(model)


CONFIGS: dict[str, Callable[[], PeftConfig]] = {
    "DoRA on all": lambda: lora(use_dora=True, target_modules="all-linear"),
    "rslora": lambda: lora(use_rslora=True),
    "all biases": lambda: lora(bias="all"),
    "own biases": lambda: lora(bias="lora_only"),
    "PiSSA": lambda: lora(init_lora_weights="pissa"),
    "head": lambda: lora(target_modules=["lm_head"]),
    "embeddings": lambda: lora(target_modules=["embed_tokens", "wte"]),
    "a copy of the head": lambda: lora(modules_to_save=["lm_head"]),
    "a copy of the embeddings": lambda: lora(modules_to_save=["embed_tokens", "wte"]),
    "tokens": lambda: TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=[3, 40]),
    "IA3": lambda: IA3Config(task_type="CAUSAL_LM"),
    "VeRA": lambda: VeraConfig(task_type="CAUSAL_LM", r=4),
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("build", [tiny_llama, tied_llama, tiny_gpt2, tiny_opt])
def test_it_is_what_plain_peft_makes_of_it(build: Callable[[], PreTrainedModel], kind: str, tmp_path: Path) -> None:
    """With tied weights too, where an adapter on the head must leave the embeddings alone, and the reverse."""
    base = save_model(build(), None, tmp_path / "base")
    trained = saved_adapter(base, CONFIGS[kind](), tmp_path / "adapter")
    assert not torch.allclose(trained, logits(build()), atol=1e-3)
    loaded = load_causal_lm(str(tmp_path / "adapter"))
    assert torch.allclose(logits(loaded), trained, atol=1e-4)
    assert torch.allclose(logits(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")), trained, atol=1e-5)
    again = AutoModelForCausalLM.from_pretrained(save_model(loaded, None, tmp_path / "again"))
    assert torch.allclose(logits(again), trained, atol=1e-4)


def test_an_adapter_of_an_adapter(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base")
    saved_adapter(base, lora(), tmp_path / "first")
    first = load_causal_lm(str(tmp_path / "first"))
    second = train(get_peft_model(first, lora()))
    second.save_pretrained(tmp_path / "second")
    assert PeftConfig.from_pretrained(tmp_path / "second").base_model_name_or_path == str(tmp_path / "first")
    assert torch.allclose(logits(load_causal_lm(str(tmp_path / "second"))), logits(second), atol=1e-5)
    assert load_tokenizer(str(tmp_path / "second")).get_vocab() == tiny_tokenizer().get_vocab()


@pytest.mark.parametrize("rows", [VOCAB_SIZE + 1, VOCAB_SIZE + 6, VOCAB_SIZE - 2])
def test_embeddings_get_the_rows_that_the_adapter_has(rows: int, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_model(tiny_llama(), None, tmp_path / "base"))
    model.resize_token_embeddings(rows)
    adapted = train(get_peft_model(model, lora()))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load_causal_lm(str(tmp_path / "adapter"))
    assert loaded.get_input_embeddings().weight.shape[0] == loaded.config.vocab_size == rows
    assert torch.allclose(logits(loaded), logits(adapted), atol=1e-5)


def test_the_base_is_found_where_the_folders_were_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a name that is relative to where the run was started, and beside the adapter where it was saved with it."""
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path / "runs")
    save_model(tiny_llama(), None, Path("base"))
    trained = saved_adapter(Path("base"), lora(), Path("adapter/checkpoint-1"))
    monkeypatch.chdir(tmp_path)
    shutil.move("runs", "elsewhere")
    folder = tmp_path / "elsewhere" / "adapter"
    assert torch.allclose(logits(load_causal_lm(str(folder / "checkpoint-1"))), trained, atol=1e-5)
    assert torch.allclose(logits(load_causal_lm("elsewhere/adapter/checkpoint-1")), trained, atol=1e-5)

    shutil.move(tmp_path / "elsewhere" / "base", folder / "base_model")
    config = json.loads((folder / "checkpoint-1" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "/somewhere/adapter/base_model"
    (folder / "checkpoint-1" / "adapter_config.json").write_text(json.dumps(config))
    assert torch.allclose(logits(load_causal_lm(str(folder / "checkpoint-1"))), trained, atol=1e-5)


def test_an_adapter_with_a_name_of_its_own(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), None, tmp_path / "base")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora(), adapter_name="policy")
    train(model).save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "adapter_config.json").exists()
    assert torch.allclose(logits(load_causal_lm(str(tmp_path / "adapter"))), logits(model), atol=1e-5)
    shutil.copytree(tmp_path / "adapter" / "policy", tmp_path / "adapter" / "other")
    with pytest.raises(ModelError, match=r"holds several adapters; give one of '.*other', '.*policy'"):
        load_causal_lm(str(tmp_path / "adapter"))


@pytest.mark.parametrize(("make", "layer"), [(tiny_llama, "q_proj"), (tiny_gpt2, "c_attn")])
def test_layers_that_no_model_has(make: Callable[[], PreTrainedModel], layer: str) -> None:
    model = make()
    for fits in (None, "all-linear", [layer], ["nothing", layer], f".*{layer}"):
        AdapterBase(model, model, peft_config=lora(target_modules=fits))
    with pytest.raises(ConfigError, match=f"target_modules is 'q_prjo', and no layer of .* is called so; it .*{layer}"):
        AdapterBase(model, model, peft_config=lora(target_modules=["q_prjo"]))


def test_the_revision_of_the_base_is_kept(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), None, tmp_path / "base")
    saved_adapter(base, lora(revision="abc"), tmp_path / "adapter")
    adapter = adapter_at(str(tmp_path / "adapter"))
    assert adapter is not None
    assert (adapter.revision, adapter.task, adapter.base) == ("abc", "CAUSAL_LM", str(base))


def test_a_reward_model_under_an_adapter_without_a_task(tmp_path: Path) -> None:
    """Its score is that of the base."""
    base = save_model(tiny_reward_model(), None, tmp_path / "base")
    model = train(get_peft_model(type(tiny_reward_model()).from_pretrained(base), lora(task_type=None)))
    model.save_pretrained(tmp_path / "adapter")
    assert torch.allclose(logits(load_reward_model(str(tmp_path / "adapter"))), logits(model), atol=1e-5)


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    base = save_model(tiny_llama(), None, tmp_path / "base")
    saved_adapter(base, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2), tmp_path / "prefix")
    with pytest.raises(ModelError, match=r"of the kind PREFIX_TUNING, which cannot be merged into a model; use one"):
        load_causal_lm(str(tmp_path / "prefix"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{"), r"adapter_config.json is no config of an ad"),
        (
            lambda folder: (folder / "adapter_config.json").write_text("[]"),
            r"adapter_config.json is no config of an ad",
        ),
        (lambda folder: os.truncate(folder / "adapter_model.safetensors", 50), r"safetensors cannot be read: "),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"adapter' has no weights; save it with safe"),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
            r"has only pickled weights, which can run code; save it with safetensors",
        ),
        (lambda folder: shutil.rmtree(folder.parent / "base"), r"^There is no model at '.*base': .*HF_HUB_OFFLINE"),
        (
            lambda folder: save_model(tiny_llama(hidden_size=8), None, folder.parent / "base"),
            r"adapter' cannot be loaded onto its base '.*base': .*size mismatch",
        ),
    ],
)
def test_damage_is_named_in_one_line(damage: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    base = save_model(tiny_llama(), None, tmp_path / "base")
    saved_adapter(base, lora(), tmp_path / "adapter")
    damage(tmp_path / "adapter")
    with pytest.raises(ModelError, match=message) as raised:
        load_causal_lm(str(tmp_path / "adapter"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("named", [None, "", "itself"])
def test_a_base_that_is_not_named_or_is_the_adapter(named: str | None, tmp_path: Path) -> None:
    base = save_model(tiny_llama(), None, tmp_path / "base")
    saved_adapter(base, lora(), tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    place = str(tmp_path / "adapter") if named == "itself" else named
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": place}))
    with pytest.raises(ModelError, match=r"does not say which model|names its own folder as the base"):
        load_causal_lm(str(tmp_path / "adapter"))
