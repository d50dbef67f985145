"""The settings of PPO."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from transformers import TrainingArguments

from genrlhf.errors import ConfigError
from genrlhf.models.precision import default_precision
from genrlhf.trainers.ppo.checks import check_settings
from genrlhf.trainers.ppo.presets import PPO_PRESETS
from genrlhf.trainers.ranges import (
    ABOVE_ZERO,
    AT_LEAST_ONE,
    BELOW_ONE,
    PROBABILITY,
    SHARE,
    ZERO_OR_MORE,
)
from genrlhf.trainers.sampling_settings import SamplingSettings
from genrlhf.types import Support

__all__ = ["PPOConfig"]


@dataclass
class PPOConfig(SamplingSettings, TrainingArguments):
    r"""Settings of `PPOTrainer`, on top of every field of `transformers.TrainingArguments`.

    The defaults are those that Kirk et al. 2024 report for PPO (appendix), where they report one.

    One *rollout* samples completions of
    `per_device_train_batch_size × gradient_accumulation_steps × num_mini_batches / samples_per_prompt` prompts on every
    process, `samples_per_prompt` of each. It then
    serves `num_ppo_epochs × num_mini_batches` optimizer steps, which are the steps that `max_steps`, `logging_steps`,
    `save_steps` and the learning-rate schedule count.
    """

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "model_init_kwargs"]  # noqa: RUF012

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

    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Compute in bfloat16, and hold what is trained in float32: log-probabilities then have 8 bits, and "
            "are taken from the forward pass of training. None: where a GPU has it, and where the policy's weights are "
            "bfloat16."
        },
    )

    num_rollouts: Annotated[int | None, AT_LEAST_ONE] = field(
        default=None,
        metadata={
            "help": "Rollouts in all (the paper's PPO steps); sets max_steps. None: num_train_epochs over the prompts."
        },
    )
    num_ppo_epochs: Annotated[int, AT_LEAST_ONE] = field(default=4, metadata={"help": "Passes over every rollout."})
    num_mini_batches: Annotated[int, AT_LEAST_ONE] = field(
        default=1, metadata={"help": "Optimizer steps a pass over a rollout is split into."}
    )
    freeze_layers: Annotated[float, BELOW_ONE] = field(
        default=0.0,
        metadata={
            "help": "Share of the layers, from the first, that are frozen together with embeddings and LM head "
            "(the paper: 0.8). 0 trains everything."
        },
    )
    disable_dropout: bool = field(
        default=True, metadata={"help": "Switch dropout off, so that the first ratio of an update is 1."}
    )

    kl_coef: Annotated[float, ZERO_OR_MORE] = field(
        default=0.05, metadata={"help": "Coefficient β of the KL penalty; with kl_target, where it starts."}
    )
    kl_estimator: str = field(
        default="k1",
        metadata={"help": "Estimator of the per-token KL: k1, k2 or k3 (Schulman 2020, Approximating KL divergence)."},
    )
    kl_in_loss: bool = field(
        default=False,
        metadata={
            "help": "Put the KL penalty into the loss, where it is differentiated, instead of the reward; wants the "
            "estimator k2, whose gradient is that of the KL, or k3, as in Shao et al. 2024 (GRPO)."
        },
    )
    kl_target: Annotated[float | None, ABOVE_ZERO] = field(
        default=None,
        metadata={
            "help": "KL of a completion, in nats, that an adaptive β holds (Ziegler et al. 2019, section 2.2); None "
            "keeps β fixed."
        },
    )
    kl_horizon: Annotated[float, ABOVE_ZERO] = field(
        default=10000.0, metadata={"help": "Completions over which an adaptive β may change by a factor of e^0.2."}
    )
    gamma: Annotated[float, SHARE] = field(default=1.0, metadata={"help": "Discount factor γ."})
    lam: Annotated[float, SHARE] = field(default=0.95, metadata={"help": "λ of generalised advantage estimation."})
    advantage: str = field(
        default="gae",
        metadata={
            "help": "How rewards become advantages: gae, by the values of a critic; or without one, among the "
            "samples_per_prompt completions of a prompt, the same for every token of a completion: rloo, grpo, "
            "dr_grpo, maxrl, pass_at_k (see genrlhf.ops.group_advantages)."
        },
    )
    pass_k: Annotated[int, AT_LEAST_ONE] = field(default=4, metadata={"help": "The k of advantage='pass_at_k'."})
    loss_mean: str = field(
        default="token",
        metadata={
            "help": "What the loss is a mean over. token: all tokens of an optimizer step. sequence: completions, each "
            "a mean over its tokens (GRPO). constant: completions times max_new_tokens, a sum over tokens in effect "
            "(Dr. GRPO)."
        },
    )
    whiten_advantages: bool | None = field(
        default=None,
        metadata={
            "help": "Scale advantages to mean 0 and variance 1 over the tokens of the rollout. None: with gae "
            "alone. True is refused with the other names, whose gradient it would bias, and taken with an advantage "
            "function, such as REINFORCE++'s."
        },
    )
    whiten_rewards: bool = field(
        default=False,
        metadata={
            "help": "Scale the rewards of tokens, KL penalty included, to variance 1 over a rollout; their mean stays "
            "(Ziegler et al. 2019's code; Huang et al. 2024, detail 12)."
        },
    )
    scale_scores: bool = field(
        default=False,
        metadata={
            "help": "Divide scores by the standard deviation of all of them since the start (Engstrom et al. 2020, "
            "section 3)."
        },
    )
    clip_scores: Annotated[float | None, ABOVE_ZERO] = field(
        default=None,
        metadata={"help": "Clip scores to ± this, after scaling (Engstrom et al. 2020); None switches it off."},
    )
    clip_range: Annotated[float, ABOVE_ZERO] = field(
        default=0.2, metadata={"help": "Clip range ε of the policy ratio."}
    )
    clip_range_high: Annotated[float | None, ABOVE_ZERO] = field(
        default=None,
        metadata={
            "help": "Clip range of the ratio above 1, where unlikely tokens gain: 0.28 in DAPO (Yu et al. 2025, arXiv "
            "2503.14476); None for clip_range on both sides."
        },
    )
    value_clip_range: Annotated[float | None, ABOVE_ZERO] = field(
        default=0.2, metadata={"help": "Clip range of the value around its old prediction; None switches it off."}
    )
    vf_coef: Annotated[float, ZERO_OR_MORE] = field(default=0.1, metadata={"help": "Weight of the value loss."})
    entropy_coef: Annotated[float, ZERO_OR_MORE] = field(
        default=0.0,
        metadata={
            "help": "Weight of the entropy bonus (Schulman et al. 2017, equation 9), per token, in nats; with "
            "entropy_target, where it starts."
        },
    )
    entropy_target: Annotated[float | None, ABOVE_ZERO] = field(
        default=None,
        metadata={
            "help": "Mean entropy of a token, in nats, that an adaptive weight holds: after a rollout it moves by "
            "entropy_step, up where the entropy is lower, else down, within 0 and 1. None keeps the weight fixed."
        },
    )
    entropy_step: Annotated[float, ABOVE_ZERO] = field(
        default=0.005, metadata={"help": "By how much a rollout moves an adaptive entropy_coef."}
    )
    early_stop_kl: Annotated[float | None, ABOVE_ZERO] = field(
        default=None,
        metadata={
            "help": "Skip what is left of a rollout's updates once the mean KL of a token from the policy that sampled "
            "exceeds this after an update; None never does."
        },
    )
    missing_eos_score: float | None = field(
        default=-1.0,
        metadata={
            "help": "Replaces the score of a completion that ends neither in EOS nor in a stop string (Huang et al. "
            "2024, detail 4); None leaves the score alone."
        },
    )
    length_penalty: float = field(
        default=0.0, metadata={"help": "Subtracted from the score for every token of a completion."}
    )

    top_p: Annotated[float, PROBABILITY] = field(
        default=1.0,
        metadata={"help": "Draw from the nucleus of this probability; 1 switches it off. See renormalise."},
    )
    renormalise: str = field(
        default="min_new_tokens",
        metadata={
            "help": "Which limits of sampling hold in log-probabilities, entropy and KL, of policy and reference "
            "alike. min_new_tokens: EOS has probability 0 in both where it could not be drawn. all: so has every token "
            "that top_k, top_p, min_p or mask_top_p left out when the policy sampled. nothing: probabilities are those "
            "of the whole vocabulary, so that the KL of a limited sample may be far below 0."
        },
    )
    samples_per_prompt: Annotated[int, AT_LEAST_ONE] = field(
        default=1, metadata={"help": "Completions of every prompt in a rollout."}
    )
    mask_top_p: Annotated[float | None, PROBABILITY] = field(
        default=None,
        metadata={
            "help": "NLPO (Ramamurthy et al. 2022): draw only from the nucleus, of this probability, of a masking "
            "policy, a past state of the policy; None switches it off."
        },
    )
    mask_sync_rollouts: Annotated[int, AT_LEAST_ONE] = field(
        default=10, metadata={"help": "The masking policy becomes the policy every this many rollouts."}
    )
    log_completions_rollouts: Annotated[int, ZERO_OR_MORE] = field(
        default=0, metadata={"help": "Print completions and their scores every this many rollouts; 0 never does."}
    )
    num_completions_to_print: Annotated[int, AT_LEAST_ONE] = field(default=4, metadata={"help": "How many to print."})

    model_init_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Keyword arguments of `from_pretrained` where the model is given by name."}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run code that a model or tokenizer repository ships."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Use output_dir even if it holds a run with other settings."}
    )

    @classmethod
    def preset(cls, name: str, output_dir: str = "ppo", **settings: Any) -> PPOConfig:
        """Return the settings of a published run, see `PPO_PRESETS`, with `settings` over them.

        Raises:
            ConfigError: for an unknown name.

        Example:
            >>> PPOConfig.preset("kirk2023", "ppo", num_rollouts=100).kl_coef
            0.05
        """
        if name not in PPO_PRESETS:
            raise ConfigError(f"There is no preset {name!r}; there are {', '.join(PPO_PRESETS)}.")
        return cls(output_dir, **{**PPO_PRESETS[name], **settings})

    def __post_init__(self) -> None:
        self.check()
        default_precision(self)
        check_settings(self)
        if self.num_rollouts is not None:
            self.max_steps = self.num_rollouts * self.updates_per_rollout
        super().__post_init__()

    @property
    def updates_per_rollout(self) -> int:
        """Optimizer steps that one rollout serves."""
        return self.num_ppo_epochs * self.num_mini_batches

    @property
    def rollout_batch_size(self) -> int:
        """Completions that one rollout samples on every process."""
        return int(self.per_device_train_batch_size * self.gradient_accumulation_steps * self.num_mini_batches)

    @property
    def prompts_per_rollout(self) -> int:
        """Prompts that one rollout takes on every process."""
        return self.rollout_batch_size // self.samples_per_prompt

    def support(self, eos_token_ids: Iterable[int]) -> Support:
        """Return the tokens that log-probabilities range over, see `renormalise`."""
        limited = self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.mask_top_p is not None
        return Support(
            eos_token_ids=tuple(eos_token_ids),
            min_new_tokens=0 if self.renormalise == "nothing" else self.min_new_tokens,
            filtered=self.renormalise == "all" and limited,
        )
