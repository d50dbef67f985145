"""Which models of PPO are refused, and what becomes of those that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import BertConfig, BertForSequenceClassification

from genrlhf.errors import ConfigError, ModelError
from tests.helpers import VOCAB_SIZE, save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.models.test_vocabulary import renamed
from tests.trainers.runs import logged, ppo_trainer


def test_models_with_another_vocabulary_are_refused(tmp_path: Path) -> None:
    small = {"vocab_size": VOCAB_SIZE - 1}
    scorer = str(save_model(tiny_reward_model(**small), None, tmp_path / "scorer"))
    reference = str(save_model(tiny_llama(**small), None, tmp_path / "reference"))
    for settings in ({"value_model": scorer}, {"ref_model": reference}, {"ref_model": tiny_llama(**small)}):
        with pytest.raises(ConfigError, match=r"(value_model|ref_model) \(.*has embeddings for 257 tokens, but"):
            ppo_trainer(tmp_path / "run", **settings)
    swapped: dict[str, Any] = {"reward": tiny_reward_model(), "reward_processing_class": renamed(a="b", b="a")}
    with pytest.raises(ConfigError, match=r"value_model \(.*reads another vocabulary.*'a' is token"):
        ppo_trainer(tmp_path / "run", value_model="reward", **swapped)
    more = tiny_tokenizer()
    more.add_tokens(["<more>"])
    same = str(save_model(tiny_reward_model(vocab_size=VOCAB_SIZE + 1), more, tmp_path / "same"))
    ppo_trainer(tmp_path / "run", value_model="reward", reward=same, num_rollouts=1).train()


def test_noise_on_embeddings_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neftune_noise_alpha=5.0 adds noise.*leave it at None"):
        ppo_trainer(tmp_path, neftune_noise_alpha=5.0)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_the_kl_is_measured_from_where_an_adapter_started(tmp_path: Path, bias: str) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], bias=bias, task_type="CAUSAL_LM")
    model = tiny_llama(attention_bias=True)
    ids = torch.tensor([[5, 6, 7, 8]])
    before = model(ids).logits.detach()
    trainer = ppo_trainer(tmp_path, model=model, peft_config=config, num_rollouts=3)
    trainer.train()
    assert logged(trainer, "objective/kl")[0] == pytest.approx(0, abs=1e-5)
    assert torch.equal(trainer.collector.reference(ids).logits, before)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"init_lora_weights": "pissa"}])
def test_the_first_ratio_under_an_adapter_is_one(tmp_path: Path, settings: dict[str, Any]) -> None:
    config = LoraConfig(**{"r": 4, "target_modules": ["q_proj", "up_proj"], "task_type": "CAUSAL_LM", **settings})
    base = str(save_model(tiny_llama(), tiny_tokenizer(), tmp_path / "base"))
    trainer = ppo_trainer(tmp_path / "run", model=base, peft_config=config, num_rollouts=1)
    trainer.train()
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1, abs=1e-5)
    assert logged(trainer, "objective/kl")[0] == pytest.approx(0, abs=1e-3)


def test_a_value_model_that_is_trained_whole_shares_nothing(tmp_path: Path) -> None:
    """The trunk under an adapter is frozen; a value model beside it trains all of its layers."""
    policy = tiny_llama()
    scorer = tiny_reward_model()
    scorer.model.load_state_dict(policy.model.state_dict())
    config = LoraConfig(r=2, target_modules=["q_proj"], layers_to_transform=[1], task_type="CAUSAL_LM")
    trainer = ppo_trainer(
        tmp_path,
        model=policy,
        reward=scorer,
        reward_processing_class=tiny_tokenizer(),
        value_model="reward",
        peft_config=config,
    )
    assert (trainer.collector.model.depth, trainer.collector.model.value_depth) == (1, 0)
    assert trainer.collector.models.trunk_reward is not None
    before = trainer.collector.model.value_model.model.layers[0].mlp.up_proj.weight.clone()
    trainer.train()
    assert not torch.equal(trainer.collector.model.value_model.model.layers[0].mlp.up_proj.weight, before)


def test_a_value_model_that_scores_only_whole_texts_is_refused(tmp_path: Path) -> None:
    settings = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = BertForSequenceClassification(BertConfig(vocab_size=VOCAB_SIZE, num_labels=1, **settings))
    with pytest.raises(ModelError, match=r"value model is a BertForSequenceClassification, which has no head called s"):
        ppo_trainer(tmp_path, value_model=encoder)
