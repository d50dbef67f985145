"""A few steps of every trainer that a callback may be given to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import Trainer, TrainingArguments, default_data_collator

from genrlhf.trainers import DPOConfig, DPOTrainer
from tests.helpers import save_model, tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.trainers.runs import QUIET, best_of_n, ppo_trainer, prompt_rows, sft_trainer

COMMON: dict[str, Any] = {
    **QUIET,
    "max_steps": 4,
    "logging_steps": 2,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "seed": 3,
}


def letters(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """A reward."""
    return [float(sum(char.isalpha() for char in completion)) for completion in completions]


def _saved(folder: Path) -> str:
    """A model by its name, from which TRL loads the reference."""
    return str(save_model(tiny_llama(), tiny_tokenizer(), folder.with_name(f"{folder.name}-base")))


def plain(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """The Trainer of transformers, on a model with dropout."""
    tokenizer = options.pop("processing_class", tiny_tokenizer())
    model = options.pop("model", None)
    ids = [tiny_tokenizer()("q" + "ab" * 4)["input_ids"] for _ in range(16)]
    rows = [{"input_ids": row, "labels": row, "attention_mask": [1] * len(row)} for row in ids]
    return Trainer(
        model=tiny_gpt2() if model is None else model,
        args=TrainingArguments(str(folder), **{**COMMON, **options}),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        data_collator=default_data_collator,
        callbacks=callbacks,
    )


def trl_sft(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """TRL's SFT."""
    rows = [{"prompt": "q" + "x" * (number % 5), "completion": "ab" * (1 + number % 3)} for number in range(16)]
    return trl.SFTTrainer(
        model=options.pop("model", None) or tiny_gpt2(),
        args=trl.SFTConfig(str(folder), bf16=False, max_length=32, **{**COMMON, **options}),
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
    )


def trl_dpo(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """TRL's DPO."""
    rows = [{"prompt": "q", "chosen": "ab" * (2 + i % 3), "rejected": "b" * (1 + i % 2)} for i in range(16)]
    return trl.DPOTrainer(
        model=_saved(folder),
        args=trl.DPOConfig(str(folder), bf16=False, **{**COMMON, **options}),
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
    )


def _online(config: Any, trainer: Any, folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    settings = {"num_generations": 2, "max_completion_length": 6, "bf16": False, **COMMON, **options}
    return trainer(
        model=_saved(folder),
        reward_funcs=letters,
        args=config(str(folder), **settings),
        train_dataset=prompt_rows(16),
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
    )


def trl_grpo(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """TRL's GRPO."""
    return _online(trl.GRPOConfig, trl.GRPOTrainer, folder, callbacks, **options)


def trl_rloo(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """TRL's RLOO."""
    return _online(trl.RLOOConfig, trl.RLOOTrainer, folder, callbacks, **options)


def ours_sft(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """Our SFT."""
    return sft_trainer(folder, callbacks=callbacks, **{**COMMON, "model": tiny_gpt2(), **options})


def ours_dpo(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """Our DPO."""
    rows = [{"prompt": "q", "chosen": "ab" * (2 + i % 3), "rejected": "b" * (1 + i % 2)} for i in range(16)]
    return DPOTrainer(
        model=tiny_llama(),
        args=DPOConfig(str(folder), **{**COMMON, **options}),
        train_dataset=Dataset.from_list(rows),
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
    )


def ours_ppo(folder: Path, callbacks: list[Any], **options: Any) -> Trainer:
    """Our PPO: two rollouts, two updates each."""
    return ppo_trainer(folder, callbacks=callbacks, logging_steps=2, **options)


def ours_best_of_n(folder: Path, callbacks: list[Any], **options: Any) -> Any:
    """Our best-of-N, whose fine-tuning calls back."""
    trainer = best_of_n(folder, train_dataset=prompt_rows(8), max_steps=4, logging_steps=2, seed=3, **options)
    trainer.callbacks = callbacks
    return trainer


TRAINERS: dict[str, Callable[..., Any]] = {
    "transformers": plain,
    "trl-sft": trl_sft,
    "trl-dpo": trl_dpo,
    "trl-grpo": trl_grpo,
    "trl-rloo": trl_rloo,
    "sft": ours_sft,
    "dpo": ours_dpo,
    "ppo": ours_ppo,
    "best-of-n": ours_best_of_n,
}


def trained(name: str, folder: Path, callbacks: list[Any], **options: Any) -> Any:
    """Train, and return the Trainer of transformers that did."""
    torch.manual_seed(0)
    trainer = TRAINERS[name](folder, callbacks, **options)
    trainer.train()
    return getattr(trainer, "distillation", None) or trainer
