"""Small runs of the trainers, and what their tests look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

from genrlhf.trainers import (
    BestOfNConfig,
    BestOfNTrainer,
    PPOConfig,
    PPOTrainer,
    RewardModelConfig,
    RewardModelTrainer,
    SFTConfig,
    SFTTrainer,
)
from tests.helpers import tiny_llama, tiny_reward_model, tiny_tokenizer

QUIET: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
"""Settings that keep a trainer from reporting and saving."""


def share_of_a(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    """A reward: the letters "a" in a completion of 8 tokens, as a share; 1 at most."""
    return [completion.count("a") / 8 for completion in completions]


def share_of_letters(prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
    """The same for all 52 ASCII letters, which even an untrained model writes now and then."""
    return [sum(char.isascii() and char.isalpha() for char in completion) / 8 for completion in completions]


def prompt_rows(n: int = 32) -> Dataset:
    """Prompts of 1 to 5 tokens."""
    return Dataset.from_list([{"prompt": "q" + "x" * (number % 5)} for number in range(n)])


def ppo_trainer(
    folder: Path,
    *,
    model: Any = None,
    reward: Any = share_of_letters,
    train_dataset: Dataset | None = None,
    eval_dataset: Any = None,
    tokenizer: Any = None,
    peft_config: Any = None,
    ref_model: Any = None,
    value_model: Any = None,
    reward_processing_class: Any = None,
    sampler: Any = None,
    callbacks: list[TrainerCallback] | None = None,
    advantage_function: Any = None,
    group_reward: Any = None,
    shape_reward: Any = None,
    policy_loss: Any = None,
    **settings: Any,
) -> PPOTrainer:
    """A trainer of a tiny Llama that writes 8 tokens, rewarded for letters; `settings` go to its config."""
    defaults: dict[str, Any] = {
        **QUIET,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "constant",
        "per_device_train_batch_size": 16,
        "num_rollouts": 2,
        "num_ppo_epochs": 2,
        "max_new_tokens": 8,
        "missing_eos_score": None,
        "logging_steps": 1,
    }
    return PPOTrainer(
        model=tiny_llama() if model is None else model,
        reward=reward,
        args=PPOConfig(str(folder), **{**defaults, **settings}),
        train_dataset=prompt_rows() if train_dataset is None else train_dataset,
        eval_dataset=eval_dataset,
        processing_class=tiny_tokenizer() if tokenizer is None else tokenizer,
        peft_config=peft_config,
        reward_processing_class=reward_processing_class,
        ref_model=ref_model,
        value_model=value_model,
        sampler=sampler,
        callbacks=callbacks,
        advantage=advantage_function,
        group_reward=group_reward,
        shape_reward=shape_reward,
        policy_loss=policy_loss,
    )


def best_of_n(
    folder: Path,
    *,
    model: Any = None,
    reward: Any = share_of_letters,
    train_dataset: Dataset | None = None,
    tokenizer: Any = None,
    peft_config: Any = None,
    sampler: Any = None,
    group_reward: Any = None,
    **settings: Any,
) -> BestOfNTrainer:
    """A trainer that draws four completions of 8 tokens and takes the one with most letters."""
    defaults: dict[str, Any] = {
        **QUIET,
        "n": 4,
        "max_new_tokens": 8,
        "temperature": 1.0,
        "sampling_batch_size": 16,
        "learning_rate": 1e-2,
        "max_steps": 3,
    }
    return BestOfNTrainer(
        model=tiny_llama() if model is None else model,
        reward=reward,
        args=BestOfNConfig(str(folder), **{**defaults, **settings}),
        train_dataset=train_dataset,
        processing_class=tiny_tokenizer() if tokenizer is None else tokenizer,
        peft_config=peft_config,
        sampler=sampler,
        group_reward=group_reward,
    )


def sft_trainer(folder: Path, *, model: Any = None, train_dataset: Dataset | None = None, **options: Any) -> SFTTrainer:
    """A trainer on eight demonstrations; `options` go to its config, or to the trainer."""
    rows = [{"prompt": "q" + "x" * (number % 5), "completion": "ab" * (1 + number % 3)} for number in range(8)]
    settings, arguments = _split(SFTConfig, {**QUIET, "learning_rate": 1e-2, **options})
    return SFTTrainer(
        model=tiny_llama() if model is None else model,
        args=SFTConfig(str(folder), **settings),
        train_dataset=Dataset.from_list(rows) if train_dataset is None else train_dataset,
        **{"processing_class": tiny_tokenizer(), **arguments},
    )


def reward_model_trainer(
    folder: Path, *, model: Any = None, train_dataset: Dataset | None = None, **options: Any
) -> RewardModelTrainer:
    """A trainer on eight preferences for longer completions; `options` go to its config, or to the trainer."""
    rows = [
        {"prompt": "q", "chosen": "ab" * (2 + number % 3), "rejected": "b" * (1 + number % 2)} for number in range(8)
    ]
    settings, arguments = _split(RewardModelConfig, {**QUIET, "learning_rate": 1e-2, **options})
    return RewardModelTrainer(
        model=tiny_reward_model() if model is None else model,
        args=RewardModelConfig(str(folder), **settings),
        train_dataset=Dataset.from_list(rows) if train_dataset is None else train_dataset,
        **{"processing_class": tiny_tokenizer(), **arguments},
    )


def _split(config: Any, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a config, and arguments of its trainer."""
    names = config.__dataclass_fields__
    return {k: v for k, v in options.items() if k in names}, {k: v for k, v in options.items() if k not in names}


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest distance between two entries of the same parameter."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def logged(trainer: Any, key: str) -> list[float]:
    """What a trainer has logged under `key`, in order."""
    return [entry[key] for entry in trainer.state.log_history if key in entry]


class StopAt(TrainerCallback):
    """Saves a checkpoint after some step and stops, as a job that is cut off."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            control.should_save = True
            control.should_training_stop = True


def interrupted_and_whole(make: Callable[..., Any], tmp_path: Path, stop: int) -> tuple[Any, Any]:
    """Train twice with the trainers of `make(folder, callbacks)`: cut off at `stop` and resumed, and at once."""
    whole = make(tmp_path / "whole", None)
    whole.train()
    first = make(tmp_path / "resumed", [StopAt(stop)])
    first.train()
    assert first.state.global_step == stop < whole.state.global_step
    resumed = make(tmp_path / "resumed", None)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == whole.state.global_step
    return resumed, whole
