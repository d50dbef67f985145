"""What lies at a name that is no model is said in one line, before anything is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GraniteConfig, GraniteForCausalLM

from genrlhf.errors import ModelError
from genrlhf.models import load_causal_lm, load_for_reward_training, load_reward_model
from genrlhf.models.folders import one_line
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer


def only_checkpoints(folder: Path) -> None:
    for number in (2, 10):
        folder.joinpath(f"checkpoint-{number}").mkdir()
        (folder / "config.json").rename(folder / f"checkpoint-{number}" / "config.json")
        (folder / "config.json").write_text("{}")
    # A newer one, cut off before its model was written, is not the one to give.
    (folder / "checkpoint-11").mkdir()
    (folder / "config.json").unlink()


def only_a_state(folder: Path) -> None:
    (folder / "config.json").rename(folder / "trainer_state.json")


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def quantised_by_what_is_not_there(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("load", [load_causal_lm, load_for_reward_training, load_reward_model])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (only_checkpoints, r"^There is no model at '.*': it holds checkpoints .* newest, '.*/checkpoint-10', or"),
        (only_a_state, r"^There is no model at '.*': it holds the state of a run without its model\."),
        (
            lambda folder: (folder / "config.json").unlink(),
            r"^There is no model at '.*': the folder has neither config",
        ),
        (lambda folder: (folder / "config.json").rename(folder / "model.gguf"), r"^There is no model.*a GGUF file\. "),
        (lambda folder: (folder / "config.json").write_text("{"), r"its config.json cannot be read .* anew\.$"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"^There is no model at '.*': Unrecognized model"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has a config.json but no safetensors; it was not"),
        (pickled, r"has a config.json but no safetensors, only pickled weights, which can run code"),
        (lambda folder: os.truncate(folder / "model.safetensors", 999), r"^The model '.*' cannot be loaded: "),
        (without_a_weight, r"lacks 1 of the weights of a Llama\w+, such as model\.layers\.1\.mlp\.up_proj\.weight"),
        (quantised_by_what_is_not_there, r"^The model '.*' cannot be loaded: "),
    ],
)
def test_it_is_said_in_one_line(
    load: Callable[[str], Any], damage: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    model = tiny_llama() if load is load_causal_lm else tiny_reward_model()
    folder = save_model(model, tiny_tokenizer(), tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelError, match=message) as raised:
        load(str(folder))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700


def test_pickled_weights_load_where_they_are_asked_for(tmp_path: Path) -> None:
    folder = save_model(tiny_llama(), None, tmp_path)
    pickled(folder)
    loaded = load_causal_lm(str(folder), model_init_kwargs={"use_safetensors": False})
    assert torch.equal(loaded.lm_head.weight, tiny_llama().lm_head.weight)


def test_a_file_of_weights_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"it is a GGUF file\. Load that with transformers"):
        load_causal_lm(str(tmp_path / "model.gguf"))


def test_a_family_without_a_classifier_is_no_reward_model(tmp_path: Path) -> None:
    config = GraniteConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    folder = str(save_model(GraniteForCausalLM(config), None, tmp_path))
    with pytest.raises(
        ModelError, match=r"^'.*' is a granite model, for which transformers has no sequence classifier"
    ):
        load_for_reward_training(folder)


def test_messages_keep_to_one_line_and_end_in_a_full_stop() -> None:
    assert one_line(ValueError("a\n\n  b")) == "a b."
    assert one_line(ValueError()) == "ValueError."
    assert one_line(ValueError("x" * 400), 10) == "x" * 9 + "…"
