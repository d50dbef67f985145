"""The settings of best-of-N."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from genrlhf.errors import ConfigError
from genrlhf.trainers.ranges import ABOVE_ZERO, AT_LEAST_ONE, ZERO_OR_MORE
from genrlhf.trainers.sampling_settings import SamplingSettings
from genrlhf.trainers.sft import SFTConfig

__all__ = ["BestOfNConfig"]


@dataclass
class BestOfNConfig(SamplingSettings, SFTConfig):
    """Settings of `BestOfNTrainer`: how completions are drawn, and those of `SFTConfig` for `train`.

    The defaults are those that Kirk et al. 2024 report: 16 samples at temperature 0.7.
    """

    n: Annotated[int, AT_LEAST_ONE] = field(
        default=16, metadata={"help": "Samples a prompt, of which the one with the highest reward is taken."}
    )
    temperature: Annotated[float, ABOVE_ZERO] = field(default=0.7, metadata={"help": "Sampling temperature, above 0."})
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
    train_cut_off: bool = field(
        default=True,
        metadata={
            "help": "Train on best samples that were cut off, without EOS behind them; False leaves them out, and says "
            "how many."
        },
    )
    selection_temperature: Annotated[float, ZERO_OR_MORE] = field(
        default=0.0,
        metadata={
            "help": "τ of soft best-of-N: a sample is chosen with probability proportional to exp(reward/τ). 0 takes "
            "the best one."
        },
    )
    num_iterations: Annotated[int, AT_LEAST_ONE] = field(
        default=1,
        metadata={"help": "Rounds of sampling the best of n and fine-tuning on them, each from the last one's model."},
    )

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, or all n samples are one; it is {self.temperature}.")
        self.check()
        super().__post_init__()
