"""What a trainer leaves in its folder loads by the folder's name, with plain transformers and plain PEFT too."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import (
    AutoPeftModelForCausalLM,
    AutoPeftModelForSequenceClassification,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from genrlhf.errors import CheckpointError, ConfigError, ModelError
from genrlhf.models import load_causal_lm, load_reward_model, load_tokenizer
from genrlhf.rewards import calibrate_reward, load_reward
from genrlhf.sampling import TransformersSampler
from genrlhf.trainers import RewardModelConfig, RewardModelTrainer, SFTConfig, SFTTrainer, saving
from genrlhf.types import SamplingParams
from tests.helpers import EOS, EOS_ID, PAD_ID, VOCAB_SIZE, save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import QUIET, best_of_n, ppo_trainer, prompt_rows

# PEFT says that it found no config where the base will lie, and what it saves of resized embeddings.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

IDS = torch.tensor([[40, 50, 60, 70, EOS_ID]])
PADDED = {"input_ids": torch.tensor([[40, 50, EOS_ID, PAD_ID]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}


def sft(folder: Path, **settings: Any) -> SFTTrainer:
    rows = Dataset.from_list([{"prompt": "q" + "x" * (number % 5), "completion": " a b"} for number in range(8)])
    arguments = {name: settings.pop(name, None) for name in ("peft_config", "processing_class")}
    model = settings.pop("model")
    args = SFTConfig(str(folder), **{**QUIET, "max_steps": 2, "learning_rate": 1e-2, **settings})
    return SFTTrainer(model, args, rows, **arguments)


def reward_model(folder: Path, **settings: Any) -> RewardModelTrainer:
    rows = Dataset.from_list([{"prompt": "q" * (1 + i % 4), "chosen": " a b", "rejected": " zz"} for i in range(8)])
    arguments = {name: settings.pop(name, None) for name in ("peft_config", "processing_class")}
    model = settings.pop("model")
    args = RewardModelConfig(str(folder), **{**QUIET, "max_steps": 2, "learning_rate": 1e-2, **settings})
    return RewardModelTrainer(model, args, rows, **arguments)


def ppo(folder: Path, **settings: Any) -> Any:
    return ppo_trainer(folder, **{"num_rollouts": 1, **settings})


def bon(folder: Path, **settings: Any) -> Any:
    return best_of_n(folder, train_dataset=prompt_rows(4), **settings)


def trained_model(trainer: Any) -> Any:
    return getattr(trainer, "policy", trainer.model)


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(**{"r": 2, "task_type": "CAUSAL_LM", "init_lora_weights": False, **settings})


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits.float()


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base"))


LANGUAGE_MODELS = [sft, ppo, bon]


@pytest.mark.parametrize("make", [*LANGUAGE_MODELS, reward_model])
def test_training_leaves_a_model_and_so_does_each_checkpoint(make: Any, base: str, tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", model=base, save_strategy="steps", save_steps=1, save_total_limit=1)
    trainer.train()
    scores = make is reward_model
    plain = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    load = load_reward_model if scores else load_causal_lm
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    for folder in (tmp_path / "run", checkpoint):
        assert torch.equal(logits(plain.from_pretrained(folder)), logits(trained_model(trainer)))
        assert torch.equal(logits(load(str(folder))), logits(trained_model(trainer)))
        assert load_tokenizer(str(folder)).pad_token_id == PAD_ID
    assert not list((tmp_path / "run").glob(".*"))


def test_nothing_is_left_where_nothing_shall_be_saved(base: str, tmp_path: Path) -> None:
    trainer = sft(tmp_path / "run", model=base)
    trainer.train()
    with pytest.raises(ModelError, match=r"^There is no model at '.*run'"):
        load_causal_lm(str(tmp_path / "run"))
    trainer.save_model()
    assert torch.equal(logits(load_causal_lm(str(tmp_path / "run"))), logits(trainer.model))


def test_several_iterations_of_best_of_n_leave_the_last_model(base: str, tmp_path: Path) -> None:
    trainer = bon(tmp_path / "run", model=base, save_strategy="steps", num_iterations=2)
    trainer.train()
    assert torch.equal(logits(load_causal_lm(str(tmp_path / "run"))), logits(trainer.model))
    assert not list((tmp_path / "run").glob("iteration-*/config.json"))


@pytest.mark.parametrize("make", LANGUAGE_MODELS)
def test_an_adapter_on_an_adapter(make: Any, base: str, tmp_path: Path) -> None:
    """Also from a checkpoint, and after the folder was moved."""
    first = sft(tmp_path / "first", model=base, peft_config=lora())
    first.save_model()
    trainer = make(
        tmp_path / "run",
        model=str(tmp_path / "first"),
        peft_config=lora(),
        save_strategy="steps",
        save_steps=1,
        save_total_limit=1,
    )
    trainer.train()
    expected = logits(trained_model(trainer))
    trainer.save_model(str(tmp_path / "saved"))
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    assert not (checkpoint / "base_model").exists()
    for folder in (tmp_path / "run", checkpoint, tmp_path / "saved"):
        assert torch.allclose(logits(load_causal_lm(str(folder))), expected, atol=1e-5)
        assert torch.allclose(logits(AutoPeftModelForCausalLM.from_pretrained(folder)), expected, atol=1e-5)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    shutil.rmtree(tmp_path / "first")
    assert torch.allclose(logits(load_causal_lm(str(tmp_path / "moved"))), expected, atol=1e-5)
    assert torch.allclose(logits(load_causal_lm(str(tmp_path / "moved" / checkpoint.name))), expected, atol=1e-5)


def test_a_reward_adapter_on_an_adapter_of_a_language_model(base: str, tmp_path: Path) -> None:
    sft(tmp_path / "sft", model=base, peft_config=lora()).save_model()
    trainer = reward_model(tmp_path / "run", model=str(tmp_path / "sft"), peft_config=lora(task_type=None))
    trainer.train()
    trainer.save_model()
    expected = logits(trainer.model)
    assert torch.allclose(logits(load_reward_model(str(tmp_path / "run"))), expected, atol=1e-5)
    assert torch.allclose(
        logits(AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "run")), expected, atol=1e-5
    )
    # And one on top of that, saved over what it was trained on.
    again = reward_model(tmp_path / "again", model=str(tmp_path / "run"), peft_config=lora(task_type=None))
    again.train()
    again.save_model(str(tmp_path / "run"))
    assert torch.allclose(logits(load_reward_model(str(tmp_path / "run"))), logits(again.model), atol=1e-5)


@pytest.mark.parametrize("change", ["trained", "resized", "from a config"])
@pytest.mark.parametrize("make", LANGUAGE_MODELS)
def test_an_adapter_on_a_model_that_is_nowhere(make: Any, change: str, base: str, tmp_path: Path) -> None:
    """Not as it is in memory, whatever name it has."""
    tokenizer, model = tiny_tokenizer(), AutoModelForCausalLM.from_pretrained(base)
    if change == "resized":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
        model.resize_token_embeddings(VOCAB_SIZE + 6)
    elif change == "trained":
        model.model.layers[1].mlp.up_proj.weight.data += 0.5
    else:
        model = tiny_llama(seed=3)
    name = "tokenizer" if make is not sft else "processing_class"
    trainer = make(tmp_path / "run", model=model, peft_config=lora(), **{name: tokenizer})
    trainer.train()
    trainer.save_model()
    expected = logits(trained_model(trainer))
    assert torch.allclose(logits(load_causal_lm(str(tmp_path / "run"))), expected, atol=1e-5)
    assert torch.allclose(logits(AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run")), expected, atol=1e-5)


@pytest.mark.parametrize("given", ["name", "module", "bfloat16"])
def test_a_base_that_lies_somewhere_is_named_and_not_copied(
    given: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a place that is right from everywhere, whatever the folder was called."""
    monkeypatch.chdir(tmp_path)
    dtype = "bfloat16" if given == "bfloat16" else "float32"
    model: Any = "base" if given == "name" else AutoModelForCausalLM.from_pretrained("base", dtype=dtype)
    trainer = sft(tmp_path / "run", model=model, peft_config=lora(), processing_class=tiny_tokenizer())
    trainer.save_model()
    assert PeftConfig.from_pretrained(tmp_path / "run").base_model_name_or_path == base
    assert not (tmp_path / "run" / "base_model").exists()


def test_an_adapter_saved_over_its_base_keeps_it(base: str, tmp_path: Path) -> None:
    trainer = sft(tmp_path / "run", model=base, peft_config=lora())
    trainer.train()
    trainer.save_model(base)
    assert torch.allclose(logits(load_causal_lm(base)), logits(trainer.model), atol=1e-5)


def test_a_full_model_takes_the_place_of_an_adapter(base: str, tmp_path: Path) -> None:
    sft(tmp_path / "run", model=base, peft_config=lora()).save_model()
    trainer = sft(tmp_path / "other", model=base)
    trainer.train()
    trainer.save_model(str(tmp_path / "run"))
    assert not (tmp_path / "run" / "adapter_config.json").exists()
    assert torch.equal(logits(load_causal_lm(str(tmp_path / "run"))), logits(trainer.model))


def test_an_adapter_that_changes_its_base_needs_it_somewhere(base: str, tmp_path: Path) -> None:
    sft(tmp_path / "named", model=base, peft_config=lora(init_lora_weights="pissa"))
    with pytest.raises(ConfigError, match=r"init_lora_weights='pissa' takes the adapter's start out of the base"):
        sft(
            tmp_path / "run",
            model=tiny_llama(seed=3),
            peft_config=lora(init_lora_weights="pissa"),
            processing_class=tiny_tokenizer(),
        )


@pytest.mark.parametrize("make", [*LANGUAGE_MODELS, reward_model])
def test_an_adapter_that_cannot_be_merged_is_refused_before_training(make: Any, base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^An adapter of the kind PROMPT_TUNING puts tokens of its own before"):
        make(tmp_path / "run", model=base, peft_config=PromptTuningConfig(num_virtual_tokens=2))


@pytest.mark.parametrize("peft", [False, True])
def test_a_score_is_read_at_eos_by_plain_libraries_where_padding_was_eos(peft: bool, tmp_path: Path) -> None:
    """An adapter has no config of its own; that of a base that pads with EOS would read the token before."""
    base = save_model(tiny_llama(pad_token_id=EOS_ID), tiny_tokenizer(pad_token=EOS), tmp_path / "base")
    config = lora(task_type=None) if peft else None
    trainer = reward_model(tmp_path / "run", model=str(base), peft_config=config, pad_token=EOS)
    trainer.train()
    trainer.save_model()
    plain: Any = AutoPeftModelForSequenceClassification if peft else AutoModelForSequenceClassification
    loaded = plain.from_pretrained(tmp_path / "run").eval()
    with torch.no_grad():
        padded = loaded(**PADDED).logits
        alone = trainer.model.eval()(input_ids=PADDED["input_ids"][:, :-1]).logits
    assert torch.allclose(padded, alone, atol=1e-5)


def test_a_model_half_in_place_is_no_model(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of two models would load as one, of random weights where they do not go together."""
    sft(tmp_path / "run", model=base).save_model()

    def cut_off(path: Path) -> None:
        if path.name == "model.safetensors" and path.parent == tmp_path / "run" and not path.exists():
            raise KeyboardInterrupt
        real(path)

    real = saving._remove
    monkeypatch.setattr(saving, "_remove", cut_off)
    trainer = sft(tmp_path / "other", model=base)
    with pytest.raises(KeyboardInterrupt):
        trainer.save_model(str(tmp_path / "run"))
    with pytest.raises(ModelError, match=r"^There is no model at"):
        load_causal_lm(str(tmp_path / "run"))
    monkeypatch.undo()
    trainer.save_model(str(tmp_path / "run"))
    assert torch.equal(logits(load_causal_lm(str(tmp_path / "run"))), logits(trainer.model))


def test_a_full_disk_leaves_what_was_there(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = sft(tmp_path / "run", model=base)
    trainer.save_model()
    before = logits(load_causal_lm(str(tmp_path / "run")))

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.model, "save_pretrained", full)
    with pytest.raises(CheckpointError, match=r"could not be saved to .*run: .*No space left.*Make room"):
        trainer.save_model()
    assert torch.equal(logits(load_causal_lm(str(tmp_path / "run"))), before)
    assert not list((tmp_path / "run").glob(".*"))


def scorer(folder: Path) -> PeftModel:
    """A reward model in PEFT's wrapper."""
    model = tiny_reward_model()
    save_model(model, tiny_tokenizer(), folder)
    return get_peft_model(type(model).from_pretrained(folder), lora(task_type="SEQ_CLS")).eval()


def test_a_peft_model_is_a_reward(tmp_path: Path) -> None:
    model = scorer(tmp_path / "rm")
    parameters = [parameter.requires_grad for parameter in model.parameters()]
    reward = load_reward(model)
    rewards = reward(prompts=["(2P"], completions=["<"])
    tokens = torch.tensor([[*tiny_tokenizer()("(2P<")["input_ids"], EOS_ID]])
    with torch.no_grad():
        assert rewards == pytest.approx([model(input_ids=tokens).logits.item()], abs=1e-5)
    assert [parameter.requires_grad for parameter in model.parameters()] == parameters
    weighted = load_reward([(model, 2.0)])(prompts=["(2P"], completions=["<"])
    assert weighted == pytest.approx([2 * rewards[0]], abs=1e-5)
    rows = Dataset.from_list([{"prompt": "(2P", "completion": "<"}])
    assert calibrate_reward(model, rows, output_dir=tmp_path / "out").bias == pytest.approx(-rewards[0], abs=1e-5)
    assert load_reward(tmp_path / "out")(prompts=["(2P"], completions=["<"]) == pytest.approx([0.0], abs=1e-5)
    with pytest.raises(ConfigError, match=r"no place to store the gain and bias of a module"):
        calibrate_reward(model, rows)


@pytest.mark.parametrize("role", ["reward", "value_model", "ref_model", "model"])
def test_a_peft_model_plays_every_role_in_ppo(role: str, base: str, tmp_path: Path) -> None:
    adapted: Callable[[], PeftModel] = lambda: get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora())  # noqa: E731
    model = scorer(tmp_path / "rm") if role in ("reward", "value_model") else adapted()
    trainer = ppo(tmp_path / "run", **{"model": base, role: model})
    trainer.train()
    trainer.save_model()
    assert torch.allclose(logits(load_causal_lm(str(tmp_path / "run"))), logits(trained_model(trainer)), atol=1e-5)
    if role == "value_model":
        value = trainer.collector.model.value_model
        assert torch.allclose(logits(load_reward_model(str(tmp_path / "run" / role))), logits(value), atol=1e-5)
        assert load_reward(tmp_path / "run" / role)(prompts=["q"], completions=["a"])


@pytest.mark.parametrize("make", [sft, bon])
def test_a_peft_model_is_trained_and_saved(make: Any, base: str, tmp_path: Path) -> None:
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora())
    before = logits(model)
    trainer = make(tmp_path / "run", model=model)
    trainer.train()
    trainer.save_model()
    assert not torch.allclose(logits(trainer.model), before, atol=1e-4)
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run")
    assert torch.allclose(logits(loaded), logits(trainer.model), atol=1e-5)


def test_a_peft_model_is_sampled_as_what_it_is_merged(base: str) -> None:
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora()).eval()
    params = SamplingParams(max_new_tokens=6, temperature=0.0)
    wrapped = TransformersSampler(model, tiny_tokenizer()).sample(["q", "qxx"], 1, params, 0)
    merged = TransformersSampler(model.merge_and_unload(), tiny_tokenizer()).sample(["q", "qxx"], 1, params, 0)
    assert wrapped == merged


@pytest.mark.parametrize(
    ("make", "task"),
    [
        (sft, "CAUSAL_LM"),
        (reward_model, "CAUSAL_LM"),
        (reward_model, "SEQ_CLS"),
        (ppo, "CAUSAL_LM"),
        (bon, "CAUSAL_LM"),
    ],
)
def test_the_config_of_an_adapter_stays_as_it_was_given(make: Any, task: str, tmp_path: Path) -> None:
    given = lora(task_type=task, modules_to_save=["embed_tokens"])
    before = copy.deepcopy(given.to_dict())
    tokenizer = "tokenizer" if make in (ppo, bon) else "processing_class"
    model = tiny_reward_model() if make is reward_model else tiny_llama()
    make(tmp_path, model=model, peft_config=given, **{tokenizer: tiny_tokenizer()}).train()
    assert given.to_dict() == before


def test_a_reward_model_is_resumed_with_the_very_config_that_it_was_begun_with(tmp_path: Path) -> None:
    options = {"peft_config": lora(task_type="SEQ_CLS"), "save_strategy": "steps", "save_steps": 1}
    for resume in (None, str(tmp_path / "checkpoint-1")):
        trainer = reward_model(tmp_path, model=tiny_reward_model(), processing_class=tiny_tokenizer(), **options)
        trainer.train(resume_from_checkpoint=resume)
    assert trainer.state.global_step == 2
