"""Weights in bfloat16, scores in float32 and gradient checkpointing, in every trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from genrlhf.errors import ConfigError
from genrlhf.trainers import RewardModelConfig, RewardModelTrainer, SFTConfig, SFTTrainer
from tests.helpers import save_model, tiny_llama, tiny_reward_model, tiny_tokenizer
from tests.trainers.runs import (
    QUIET,
    best_of_n,
    interrupted_and_whole,
    largest_difference,
    logged,
    ppo_trainer,
    prompt_rows,
    weights,
)

LAYERS = 4


def sft(folder: Path, *, model: Any, callbacks: Any = None, peft_config: Any = None, **settings: Any) -> SFTTrainer:
    rows = [{"prompt": "q" + "x" * (number % 5), "completion": " a b"} for number in range(16)]
    args = SFTConfig(str(folder), **{**QUIET, "max_steps": 4, "per_device_train_batch_size": 4, **settings})
    return SFTTrainer(
        model,
        args,
        Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
        peft_config=peft_config,
    )


def reward_model(
    folder: Path, *, model: Any, callbacks: Any = None, peft_config: Any = None, **settings: Any
) -> RewardModelTrainer:
    rows = [{"prompt": "q" + "x" * (number % 5), "chosen": " a b", "rejected": " zz"} for number in range(16)]
    args = RewardModelConfig(str(folder), **{**QUIET, "max_steps": 4, "per_device_train_batch_size": 4, **settings})
    return RewardModelTrainer(
        model,
        args,
        Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
        peft_config=peft_config,
    )


class Distilled:
    """Best-of-N with the face of the others."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        settings.pop("callbacks", None)
        self.trainer = best_of_n(folder, train_dataset=prompt_rows(8), **{"max_steps": 4, **settings})

    def train(self) -> None:
        self.trainer.train()

    @property
    def model(self) -> Any:
        return self.trainer.model


TRAINERS: dict[str, Callable[..., Any]] = {
    "sft": sft,
    "reward_model": reward_model,
    "ppo": ppo_trainer,
    "best_of_n": Distilled,
}


def trained(trainer: Any) -> Any:
    return getattr(trainer, "policy", trainer.model)


def start(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    model = (tiny_reward_model if kind == "reward_model" else tiny_llama)(num_hidden_layers=LAYERS)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


@pytest.mark.parametrize("freeze_layers", [0.0, 0.5])
@pytest.mark.parametrize("kind", TRAINERS)
def test_weights_in_bfloat16_train(tmp_path: Path, kind: str, freeze_layers: float) -> None:
    """At a usual learning rate nearly all steps are smaller than what bfloat16 tells apart."""
    moved = {}
    for dtype in (torch.float32, torch.bfloat16):
        trainer = TRAINERS[kind](
            tmp_path / str(dtype), model=start(kind, dtype), learning_rate=1.5e-6, freeze_layers=freeze_layers
        )
        trainer.train()
        own = {n: p for n, p in trained(trainer).named_parameters() if p.requires_grad}
        assert {p.dtype for p in own.values()} == {torch.float32}
        if freeze_layers:
            assert {p.dtype for p in trained(trainer).parameters() if not p.requires_grad} == {dtype}
        before = dict(start(kind, dtype).named_parameters())
        # Rows of tokens that do not occur get no gradient.
        counts = [(p != before[n].float()).float().mean() for n, p in own.items() if ".layers." in n]
        moved[dtype] = float(torch.stack(counts).mean())
    assert moved[torch.bfloat16] > 0.9 * moved[torch.float32] > 0.5


@pytest.mark.parametrize("kind", TRAINERS)
def test_weights_in_float16_are_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"The model's weights are float16.*load it in float32 or bfloat16"):
        TRAINERS[kind](tmp_path, model=start(kind, torch.float16)).train()


@pytest.mark.parametrize("kind", ["sft", "reward_model", "ppo"])
def test_weights_in_bfloat16_resume_bit_for_bit(tmp_path: Path, kind: str) -> None:
    def make(folder: Path, callbacks: Any) -> Any:
        settings = {"freeze_layers": 0.5, "learning_rate": 1e-3}
        return TRAINERS[kind](folder, model=start(kind, torch.bfloat16), callbacks=callbacks, **settings)

    resumed, whole = interrupted_and_whole(make, tmp_path, stop=3)
    assert largest_difference(weights(trained(resumed)), weights(trained(whole))) == 0


@pytest.mark.parametrize("settings", [{}, {"freeze_layers": 0.5}, {"value_model": "reward"}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ppo_in_bfloat16_starts_at_its_reference(tmp_path: Path, dtype: torch.dtype, settings: dict[str, Any]) -> None:
    reward = tiny_reward_model(num_hidden_layers=LAYERS)
    trainer = ppo_trainer(
        tmp_path,
        model=start("ppo", dtype),
        reward=reward,
        reward_processing_class=tiny_tokenizer(),
        bf16=True,
        num_rollouts=1,
        **settings,
    )
    trainer.train()
    assert logged(trainer, "objective/kl")[0] == pytest.approx(0, abs=1e-6)
    assert logged(trainer, "policy/ratio")[0] == pytest.approx(1, abs=1e-6)
    scored = trainer.collector.sample_and_score(list(prompt_rows(8)), list(range(8)))
    for name in ("scores", "values"):
        found = scored.tensors[name] if hasattr(scored, "tensors") else getattr(scored, name)
        assert found.dtype == torch.float32
        assert not torch.equal(found, found.bfloat16().float()), name


def test_a_reward_model_learns_from_float32_scores(tmp_path: Path) -> None:
    trainer = reward_model(tmp_path / "run", model=start("reward_model"), bf16=True, logging_steps=1, max_steps=1)
    trainer.train()
    margin = torch.tensor(logged(trainer, "margin")[0])
    assert margin != margin.bfloat16().float()
    trainer.save_model(str(tmp_path / "saved"))
    ids = torch.tensor([[5, 6, 7, 8]])
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    inner = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()
    assert torch.equal(loaded(ids).logits, inner(ids).logits)


def test_sampling_casts_frozen_weights_once_a_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = ppo_trainer(tmp_path, model=start("ppo"), bf16=True, freeze_layers=0.5, num_rollouts=1)
    seen: set[torch.dtype] = set()
    frozen = trainer.policy.model.layers[0].mlp.up_proj
    frozen.register_forward_hook(lambda module, *_: seen.add(module.weight.dtype))
    generate = trainer.collector.sampler.generate

    def watched(*args: Any, **options: Any) -> Any:
        seen.clear()
        found = generate(*args, **options)
        assert seen == {torch.bfloat16}
        return found

    monkeypatch.setattr(trainer.collector.sampler, "generate", watched)
    trainer.train()
    assert frozen.weight.dtype == torch.float32
    saved = save_model(trainer.policy, None, tmp_path / "saved")
    loaded = dict(AutoModelForCausalLM.from_pretrained(saved).named_parameters())
    before = dict(start("ppo").named_parameters())
    for name, parameter in trainer.policy.named_parameters():
        assert parameter.requires_grad or torch.equal(loaded[name], before[name]), name


@pytest.mark.parametrize("how", ["frozen", "adapter", "adapter above a trunk"])
@pytest.mark.parametrize("kind", TRAINERS)
def test_reentrant_checkpointing_trains_the_same_layers(tmp_path: Path, kind: str, how: str) -> None:
    found = []
    for name, checkpointing in (("plain", None), ("checkpointed", {"use_reentrant": True})):
        settings: dict[str, Any] = {"learning_rate": 1e-2, "optim": "sgd"}
        if how == "frozen":
            settings["freeze_layers"] = 0.5
        else:
            last = [LAYERS - 1] if how == "adapter above a trunk" else None
            settings["peft_config"] = LoraConfig(
                r=2,
                target_modules=["q_proj", "down_proj"],
                layers_to_transform=last,
                init_lora_weights=False,
                task_type="CAUSAL_LM",
            )
        if checkpointing is not None:
            settings |= {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": checkpointing}
        torch.manual_seed(0)
        trainer = TRAINERS[kind](tmp_path / name, model=start(kind), **settings)
        before = weights(trained(trainer))
        trainer.train()
        if kind != "best_of_n":
            assert largest_difference(weights(trained(trainer)), before) > 0
        found.append(weights(trained(trainer)))
    assert largest_difference(*found) < 1e-5
