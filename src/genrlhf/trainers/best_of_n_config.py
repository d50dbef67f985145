"""The settings of best-of-N."""

from __future__ import annotations

from dataclasses import dataclass, field

from genrlhf.errors import ConfigError
from genrlhf.trainers.cut_off import CutOffRule
from genrlhf.trainers.sft import SFTConfig
from genrlhf.types import SamplingParams

__all__ = ["BestOfNConfig"]


@dataclass
class BestOfNConfig(SFTConfig):
    """Settings of `BestOfNTrainer`: how completions are drawn, and those of `SFTConfig` for `train`.

    The defaults are those that Kirk et al. 2024 report: 16 samples at temperature 0.7.
    """

    n: int = field(
        default=16, metadata={"help": "Samples a prompt, of which the one with the highest reward is taken."}
    )
    max_new_tokens: int = field(default=48, metadata={"help": "Longest completion, in tokens."})
    min_new_tokens: int = field(default=0, metadata={"help": "EOS cannot be drawn before this many tokens."})
    temperature: float = field(default=0.7, metadata={"help": "Sampling temperature, above 0."})
    top_k: int = field(default=0, metadata={"help": "Draw from this many most likely tokens; 0 switches it off."})
    top_p: float = field(
        default=1.0, metadata={"help": "Draw from the nucleus of this probability; 1 switches it off."}
    )
    min_p: float = field(
        default=0.0,
        metadata={"help": "Draw from tokens at least this fraction as likely as the likeliest; 0 switches it off."},
    )
    stop: list[str] | None = field(
        default=None, metadata={"help": "Strings that end a sample; it is trained with the one that it ends in."}
    )
    missing_eos_score: float | None = field(
        default=None,
        metadata={
            "help": "Replaces the reward of a sample that ends neither in EOS nor in a stop string, where samples are "
            "chosen; None leaves it alone."
        },
    )
    missing_eos_penalty: float | None = field(
        default=None, metadata={"help": "Subtracted from the reward of such a sample instead."}
    )
    train_cut_off: bool = field(
        default=True,
        metadata={
            "help": "Train on best samples that were cut off, without EOS behind them; False leaves them out, and says "
            "how many."
        },
    )
    selection_temperature: float = field(
        default=0.0,
        metadata={
            "help": "τ of soft best-of-N: a sample is chosen with probability proportional to exp(reward/τ). 0 takes "
            "the best one."
        },
    )
    num_iterations: int = field(
        default=1,
        metadata={"help": "Rounds of sampling the best of n and fine-tuning on them, each from the last one's model."},
    )
    sampling_batch_size: int = field(default=128, metadata={"help": "Sequences decoded at a time on one device."})
    reward_batch_size: int = field(default=64, metadata={"help": "Texts scored at a time by a reward model."})

    def __post_init__(self) -> None:
        for name in ("n", "num_iterations", "max_new_tokens", "sampling_batch_size", "reward_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, or all n samples are one; it is {self.temperature}.")
        if not 0 <= self.selection_temperature < float("inf"):
            raise ConfigError(
                f"selection_temperature must be 0 or more, and finite, not {self.selection_temperature}; 0 takes the "
                "best sample."
            )
        if self.top_k < 0:
            raise ConfigError(f"top_k must not be negative, but is {self.top_k}; 0 switches it off.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie in (0, 1], not {self.top_p}.")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens must lie between 0 and max_new_tokens ({self.max_new_tokens}), not "
                f"{self.min_new_tokens}."
            )
        CutOffRule(self.missing_eos_score, self.missing_eos_penalty)
        SamplingParams(min_p=self.min_p, stop=self.stop or ())  # type: ignore[arg-type]
        super().__post_init__()

    @property
    def sampling_params(self) -> SamplingParams:
        """How completions are drawn."""
        return SamplingParams(
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            stop=self.stop or (),  # type: ignore[arg-type]
        )

    @property
    def cut_off_rule(self) -> CutOffRule:
        """What being cut off does to the reward of a sample."""
        return CutOffRule(self.missing_eos_score, self.missing_eos_penalty)
