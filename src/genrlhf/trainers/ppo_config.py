"""The settings of PPO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from genrlhf.errors import ConfigError
from genrlhf.ops import KL_ESTIMATORS
from genrlhf.types import SamplingParams

__all__ = ["PPOConfig"]


@dataclass
class PPOConfig(TrainingArguments):
    r"""Settings of `PPOTrainer`, on top of every field of `transformers.TrainingArguments`.

    The defaults are those that Kirk et al. 2024 report for PPO (appendix), where they report one.

    One *rollout* samples a completion for each of
    `per_device_train_batch_size × gradient_accumulation_steps × num_mini_batches` prompts on every process. It then
    serves `num_ppo_epochs × num_mini_batches` optimizer steps, which are the steps that `max_steps`, `logging_steps`,
    `save_steps` and the learning-rate schedule count.
    """

    learning_rate: float = field(default=1.5e-5, metadata={"help": "Peak learning rate of AdamW."})
    logging_steps: float = field(default=10, metadata={"help": "Log every this many optimizer steps."})
    per_device_train_batch_size: int = field(
        default=32, metadata={"help": "Sequences a forward and backward pass on one device."}
    )
    per_device_eval_batch_size: int = field(
        default=128, metadata={"help": "Prompts that evaluate samples at a time on one device."}
    )
    dataloader_pin_memory: bool = field(
        default=False, metadata={"help": "Pin the memory of batches; they are text here, so there is nothing to pin."}
    )
    remove_unused_columns: bool = field(
        default=False,
        metadata={"help": "Must stay False: further columns of the dataset reach the reward function."},
    )

    num_rollouts: int | None = field(
        default=None,
        metadata={
            "help": "Rollouts in all (the paper's PPO steps); sets max_steps. None: num_train_epochs over the prompts."
        },
    )
    num_ppo_epochs: int = field(default=4, metadata={"help": "Passes over every rollout."})
    num_mini_batches: int = field(default=1, metadata={"help": "Optimizer steps a pass over a rollout is split into."})
    freeze_layers: float = field(
        default=0.0,
        metadata={
            "help": "Share of the layers, from the first, that are frozen together with embeddings and LM head "
            "(the paper: 0.8). 0 trains everything."
        },
    )
    disable_dropout: bool = field(
        default=True, metadata={"help": "Switch dropout off, so that the first ratio of an update is 1."}
    )

    kl_coef: float = field(default=0.05, metadata={"help": "Coefficient β of the KL penalty in the reward."})
    kl_estimator: str = field(
        default="k1", metadata={"help": "Estimator of the per-token KL in the reward: k1, k2 or k3."}
    )
    gamma: float = field(default=1.0, metadata={"help": "Discount factor γ."})
    lam: float = field(default=0.95, metadata={"help": "λ of generalised advantage estimation."})
    whiten_advantages: bool = field(
        default=True, metadata={"help": "Scale advantages to mean 0 and variance 1 over the tokens of the rollout."}
    )
    clip_range: float = field(default=0.2, metadata={"help": "Clip range ε of the policy ratio."})
    value_clip_range: float | None = field(
        default=0.2, metadata={"help": "Clip range of the value around its old prediction; None switches it off."}
    )
    vf_coef: float = field(default=0.1, metadata={"help": "Weight of the value loss."})
    missing_eos_score: float | None = field(
        default=-1.0,
        metadata={"help": "Replaces the score of a completion that does not end in EOS; None leaves the score alone."},
    )

    max_new_tokens: int = field(default=48, metadata={"help": "Longest completion, in tokens."})
    min_new_tokens: int = field(default=0, metadata={"help": "EOS cannot be drawn before this many tokens."})
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature, above 0."})
    sampling_batch_size: int = field(default=128, metadata={"help": "Sequences decoded at a time on one device."})
    reward_batch_size: int = field(default=64, metadata={"help": "Texts scored at a time by a reward model."})

    model_init_kwargs: dict[str, Any] | None = field(
        default=None, metadata={"help": "Keyword arguments of `from_pretrained` where the model is given by name."}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run code that a model or tokenizer repository ships."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Use output_dir even if it holds a run with other settings."}
    )

    def __post_init__(self) -> None:
        self._check_ranges()
        if self.num_rollouts is not None:
            self.max_steps = self.num_rollouts * self.updates_per_rollout
        super().__post_init__()

    def _check_ranges(self) -> None:
        for name in (
            "num_ppo_epochs",
            "num_mini_batches",
            "max_new_tokens",
            "sampling_batch_size",
            "reward_batch_size",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in [0, 1], not {getattr(self, name)}.")
        for name in ("clip_range", "value_clip_range", "temperature"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value}.")
        for name in ("kl_coef", "vf_coef"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be 0 or more, and finite, not {getattr(self, name)}.")
        if self.kl_estimator not in KL_ESTIMATORS:
            raise ConfigError(f"kl_estimator must be one of {', '.join(KL_ESTIMATORS)}, not {self.kl_estimator!r}.")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens must lie between 0 and max_new_tokens ({self.max_new_tokens}), not "
                f"{self.min_new_tokens}."
            )
        if not 0 <= self.freeze_layers < 1:
            raise ConfigError(f"freeze_layers is the share of frozen layers, in [0, 1), not {self.freeze_layers}.")
        if self.num_rollouts is not None and self.num_rollouts < 1:
            raise ConfigError(
                f"num_rollouts must be at least 1, not {self.num_rollouts}; None leaves it to the epochs."
            )
        if self.remove_unused_columns:
            raise ConfigError("remove_unused_columns must stay False: rewards may use every column of the dataset.")

    @property
    def updates_per_rollout(self) -> int:
        """Optimizer steps that one rollout serves."""
        return self.num_ppo_epochs * self.num_mini_batches

    @property
    def rollout_batch_size(self) -> int:
        """Completions that one rollout samples on every process."""
        return int(self.per_device_train_batch_size * self.gradient_accumulation_steps * self.num_mini_batches)

    @property
    def sampling_params(self) -> SamplingParams:
        """How completions are drawn."""
        return SamplingParams(
            max_new_tokens=self.max_new_tokens, min_new_tokens=self.min_new_tokens, temperature=self.temperature
        )
