"""The settings of best-of-N."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from genrlhf.trainers.ranges import ABOVE_ZERO, AT_LEAST_ONE, ZERO_OR_MORE
from genrlhf.trainers.sample_and_tune_config import SampleAndTuneConfig

__all__ = ["BestOfNConfig"]


@dataclass
class BestOfNConfig(SampleAndTuneConfig):
    """Settings of `BestOfNTrainer`: how completions are drawn, and those of `SampleAndTuneConfig` for `train`.

    The defaults are those that Kirk et al. 2024 report: 16 samples at temperature 0.7.
    """

    n: Annotated[int, AT_LEAST_ONE] = field(
        default=16, metadata={"help": "Samples a prompt, of which the one with the highest reward is taken."}
    )
    temperature: Annotated[float, ABOVE_ZERO] = field(default=0.7, metadata={"help": "Sampling temperature, above 0."})
    missing_eos_score: float | None = field(
        default=None,
        metadata={
            "help": "Replaces the reward of a sample that ends neither in EOS nor in a stop string, where samples are "
            "chosen; None leaves it alone."
        },
    )
    selection_temperature: Annotated[float, ZERO_OR_MORE] = field(
        default=0.0,
        metadata={
            "help": "τ of soft best-of-N: a sample is chosen with probability proportional to exp(reward/τ). 0 takes "
            "the best one."
        },
    )
