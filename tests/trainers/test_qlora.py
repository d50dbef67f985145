"""Adapters on quantised models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
    TrainerCallback,
)

from genrlhf.errors import ConfigError, ModelError
from genrlhf.models import load_causal_lm, load_for_reward_training, load_reward_model
from genrlhf.trainers import PPOTrainer, RewardModelConfig, RewardModelTrainer, SFTConfig, SFTTrainer
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import QUIET, interrupted_and_whole, largest_difference, logged, ppo_trainer, weights

pytest.importorskip("bitsandbytes", reason="needs bitsandbytes: pip install genrlhf[bitsandbytes]")

WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128}
"""A block of 4-bit weights is 64 wide."""
IDS = torch.tensor([[5, 6, 7, 8]])


def four_bits(**settings: Any) -> dict[str, Any]:
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32, **settings
    )
    return {"quantization_config": config}


def eight_bits(threshold: float = 0.0) -> dict[str, Any]:
    """A threshold makes what becomes of a token depend on the others in the batch."""
    return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=threshold)}


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **{"task_type": "CAUSAL_LM", **settings})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tiny_llama(**WIDE), tiny_tokenizer(), tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tiny_reward_model(**WIDE), tiny_tokenizer(), tmp_path_factory.mktemp("reward")))


def saved_adapter(model: Any, folder: Path, **settings: Any) -> str:
    """The folder of an adapter that changes the model a little, less than a step of 4 bits."""
    adapted = get_peft_model(model, lora(**settings))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    adapted.save_pretrained(folder)
    return str(folder)


def ppo(folder: Path, base: str, quantised: dict[str, Any], **settings: Any) -> PPOTrainer:
    settings = {"model": base, "model_init_kwargs": quantised, "peft_config": lora(), **settings}
    return ppo_trainer(folder, **settings)


def sft(folder: Path, base: str, callbacks: list[TrainerCallback] | None = None, **settings: Any) -> SFTTrainer:
    rows = [{"prompt": "q" + "x" * (number % 5), "completion": " a b"} for number in range(16)]
    peft_config = settings.pop("peft_config", lora())
    settings = {**QUIET, "max_steps": 4, "learning_rate": 1e-3, "model_init_kwargs": four_bits(), **settings}
    return SFTTrainer(
        base, SFTConfig(str(folder), **settings), Dataset.from_list(rows), peft_config=peft_config, callbacks=callbacks
    )


def reward_model(
    folder: Path, base: str, callbacks: list[TrainerCallback] | None = None, **settings: Any
) -> RewardModelTrainer:
    rows = [{"prompt": "q" + "x" * (number % 5), "chosen": " a b", "rejected": " zz"} for number in range(16)]
    peft_config = settings.pop("peft_config", lora())
    settings = {**QUIET, "max_steps": 4, "learning_rate": 1e-3, "model_init_kwargs": four_bits(), **settings}
    return RewardModelTrainer(
        base,
        RewardModelConfig(str(folder), **settings),
        Dataset.from_list(rows),
        peft_config=peft_config,
        callbacks=callbacks,
    )


def adapter(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights(model).items() if "lora_" in name}


def memory(model: torch.nn.Module) -> set[int]:
    """Where the weights of a model lie, and what bitsandbytes keeps beside them."""
    tensors = list(model.parameters())
    for module in model.modules():
        state = getattr(module, "state", None)
        tensors += [getattr(state, name) for name in ("CB", "SCB") if getattr(state, name, None) is not None]
        if getattr(module, "quant_state", None) is not None:
            tensors.append(module.quant_state.absmax)
    return {tensor.data_ptr() for tensor in tensors}


@pytest.mark.parametrize("double", [False, True])
def test_ppo_is_that_of_the_dequantised_base(tmp_path: Path, base: str, double: bool) -> None:
    quantised = four_bits(bnb_4bit_use_double_quant=double)
    trainer = ppo(tmp_path / "quantised", base, quantised)
    before = weights(trainer.policy)
    assert sum(not tensor.is_floating_point() for tensor in before.values()) == 14  # seven matrices a layer
    trainer.train()
    assert logged(trainer, "objective/kl")[0] == pytest.approx(0, abs=1e-5)
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1, abs=1e-5)
    after = weights(trainer.policy)
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor) is ("lora_" not in name), name

    plain = AutoModelForCausalLM.from_pretrained(base, dtype="float32", **quantised).dequantize()
    other = ppo_trainer(tmp_path / "plain", model=plain, peft_config=lora())
    other.train()
    assert largest_difference(adapter(trainer.policy), adapter(other.policy)) < 1e-4


@pytest.mark.parametrize("quantised", [four_bits(), eight_bits(), eight_bits(6.0)], ids=["4", "8", "mixed"])
def test_the_reference_is_the_base_and_lies_in_its_memory(tmp_path: Path, base: str, quantised: dict[str, Any]) -> None:
    trainer = ppo(tmp_path, base, quantised)
    trainer.train()
    assert logged(trainer, "objective/kl")[0] == pytest.approx(0, abs=1e-5)
    assert memory(trainer.collector.reference) < memory(trainer.policy)
    with trainer.policy.disable_adapter():
        bare = trainer.policy.eval()(IDS).logits
    assert torch.equal(trainer.collector.reference(IDS).logits, bare)
    assert not torch.allclose(trainer.policy(IDS).logits, bare, atol=1e-2)


@pytest.mark.parametrize("make", [sft, reward_model])
def test_only_the_adapter_learns_and_in_float32(tmp_path: Path, base: str, make: Any) -> None:
    trainer = make(tmp_path, base)
    assert {parameter.dtype for parameter in trainer.model.parameters() if parameter.requires_grad} == {torch.float32}
    before = weights(trainer.model)
    trainer.train()
    after = weights(trainer.model)
    for name, tensor in before.items():
        trained = "lora_" in name or "score.modules_to_save" in name
        assert torch.equal(after[name], tensor) is not trained, name


@pytest.mark.parametrize("bf16", [False, True])
def test_a_base_in_bfloat16(tmp_path: Path, base: str, bf16: bool) -> None:
    """Mixed precision, asked for or not."""
    trainer = reward_model(
        tmp_path, base, bf16=bf16, max_steps=1, model_init_kwargs={**four_bits(), "dtype": "bfloat16"}
    )
    assert {parameter.dtype for parameter in trainer.model.parameters() if parameter.requires_grad} == {torch.float32}
    trainer.train()


def resumable_ppo(folder: Path, base: str, callbacks: Any) -> PPOTrainer:
    return ppo(folder, base, four_bits(), callbacks=callbacks)


@pytest.mark.parametrize("make", [resumable_ppo, sft, reward_model])
def test_resumes_bit_for_bit_and_loads(tmp_path: Path, base: str, make: Any) -> None:
    resumed, whole = interrupted_and_whole(lambda folder, callbacks: make(folder, base, callbacks), tmp_path, stop=3)
    model = getattr(whole, "policy", whole.model)
    assert largest_difference(weights(getattr(resumed, "policy", resumed.model)), weights(model)) == 0
    whole.save_model(str(tmp_path / "saved"))
    load = load_for_reward_training if make is reward_model else load_causal_lm
    fresh = load(base, model_init_kwargs=four_bits())
    loaded = PeftModel.from_pretrained(fresh, str(tmp_path / "saved")).eval()
    assert torch.equal(loaded(IDS).logits, model.eval()(IDS).logits)


@pytest.mark.parametrize(
    ("load", "head", "task"),
    [
        (load_causal_lm, AutoModelForCausalLM, "CAUSAL_LM"),
        (load_for_reward_training, AutoModelForCausalLM, "CAUSAL_LM"),
        (load_for_reward_training, AutoModelForSequenceClassification, "SEQ_CLS"),
        (load_reward_model, AutoModelForSequenceClassification, "SEQ_CLS"),
    ],
)
def test_an_adapter_is_merged_before_its_base_is_quantised(
    tmp_path: Path, base: str, reward: str, load: Any, head: Any, task: str
) -> None:
    plain = base if task == "CAUSAL_LM" else reward
    folder = saved_adapter(head.from_pretrained(plain), tmp_path / "adapter", task_type=task)
    merged = PeftModel.from_pretrained(head.from_pretrained(plain), folder).merge_and_unload()
    expected = head.from_pretrained(save_model(merged, None, tmp_path / "merged"), **four_bits())
    loaded = load(folder, model_init_kwargs=four_bits())
    assert loaded.config._name_or_path == folder
    assert largest_difference(weights(loaded.model), weights(expected.model)) == 0
    inputs = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    # A pass without gradients, for which bitsandbytes packs weights on some processors, must leave the next one alone.
    with torch.no_grad():
        loaded.eval().model(**inputs)
    assert torch.equal(loaded.train().model(**inputs)[0], expected.train().model(**inputs)[0])


def test_an_adapter_is_merged_into_a_dequantised_base(tmp_path: Path, base: str) -> None:
    quantised = load_causal_lm(base, model_init_kwargs=four_bits())
    folder = saved_adapter(load_causal_lm(str(save_model(quantised, None, tmp_path / "base"))), tmp_path / "adapter")
    loaded = load_causal_lm(folder)
    assert all(parameter.requires_grad and parameter.is_floating_point() for parameter in loaded.parameters())
    expected = PeftModel.from_pretrained(load_causal_lm(str(tmp_path / "base")), folder).eval()
    assert torch.allclose(loaded.eval()(IDS).logits, expected(IDS).logits, atol=1e-4)


@pytest.mark.parametrize("given", ["folder", "module"])
def test_a_quantised_reward_model_shares_the_trunk(tmp_path: Path, base: str, given: str) -> None:
    """In 8 bits, where scales lie apart from the weights that are shared."""
    scorer = load_for_reward_training(base, model_init_kwargs=eight_bits())
    folder = str(save_model(scorer, tiny_tokenizer(), tmp_path / "reward"))
    scores = []
    for name, settings in (("trunk", {"layers_to_transform": [1]}), ("none", {})):
        reward = folder if given == "folder" else AutoModelForSequenceClassification.from_pretrained(folder)
        trainer = ppo(tmp_path / name, base, eight_bits(), reward=reward, peft_config=lora(**settings), num_rollouts=1)
        assert trainer.collector.reward.model.is_quantized
        assert (trainer.collector.models.trunk_reward is not None) is (name == "trunk")
        trainer.train()
        scores.append(logged(trainer, "objective/scores")[0])
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_quantised_head_has_room_for_values(tmp_path: Path, base: str) -> None:
    trainer = ppo(tmp_path, base, four_bits(llm_int8_skip_modules=[]), num_rollouts=1)
    assert not trainer.policy.get_output_embeddings().weight.is_floating_point()
    trainer.train()
    assert trainer.collector.model.value_head.linear.in_features == 64


def test_quantised_weights_are_not_trained(tmp_path: Path, base: str, reward: str) -> None:
    for make in (sft, reward_model):
        for frozen in (0.0, 0.5):
            with pytest.raises(ConfigError, match=r"Quantised weights cannot be trained; pass peft_config"):
                make(tmp_path, base, peft_config=None, freeze_layers=frozen)
    with pytest.raises(ConfigError, match=r"Quantised weights cannot be trained; pass peft_config"):
        ppo(tmp_path, base, four_bits(), peft_config=None)
    quantised = load_reward_model(reward, model_init_kwargs=four_bits())
    for settings in ({"value_model": quantised}, {"value_model": "reward", "reward": quantised}):
        with pytest.raises(ConfigError, match=r"value model is quantised.*leave value_model at None"):
            ppo(tmp_path, base, four_bits(), **settings, reward_processing_class=tiny_tokenizer())


def test_an_adapter_that_is_there_already(tmp_path: Path, base: str) -> None:
    model = get_peft_model(load_causal_lm(base, model_init_kwargs=four_bits()), lora())
    trainer = ppo_trainer(tmp_path, model=model)
    trainer.train()
    assert logged(trainer, "objective/kl")[0] == pytest.approx(0, abs=1e-5)
    adapters = {parameter.data_ptr() for name, parameter in trainer.policy.named_parameters() if "lora_" in name}
    assert memory(trainer.collector.reference) & memory(trainer.policy) == memory(trainer.policy) - adapters


@pytest.mark.parametrize(
    ("load", "head"),
    [
        (load_causal_lm, AutoModelForCausalLM),
        (load_for_reward_training, AutoModelForSequenceClassification),
    ],
)
def test_weights_that_a_cpu_has_packed_are_refused(base: str, reward: str, load: Any, head: Any) -> None:
    model = head.from_pretrained(base if head is AutoModelForCausalLM else reward, **four_bits())
    assert load(model) is model
    with torch.no_grad():
        model.eval()(IDS)
    assert load(model) is model
    model.model.layers[0].mlp.up_proj.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(ModelError, match=r"has run on this CPU already.*load it anew"):
        load(model)
