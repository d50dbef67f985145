"""The settings of sample-and-tune."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from genrlhf.errors import ConfigError
from genrlhf.trainers.ranges import ABOVE_ZERO, AT_LEAST_ONE
from genrlhf.trainers.sampling_settings import SamplingSettings
from genrlhf.trainers.sft_config import SFTConfig

__all__ = ["SampleAndTuneConfig"]


@dataclass
class SampleAndTuneConfig(SamplingSettings, SFTConfig):
    """Settings of `SampleAndTuneTrainer`: how completions are drawn, and those of `SFTConfig` for the fine-tuning."""

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*SFTConfig._VALID_DICT_FIELDS, "pairwise"]

    n: Annotated[int, AT_LEAST_ONE] = field(default=8, metadata={"help": "Completions drawn of every prompt."})
    temperature: Annotated[float, ABOVE_ZERO] = field(default=1.0, metadata={"help": "Sampling temperature, above 0."})
    stop: list[str] | None = field(
        default=None, metadata={"help": "Strings that end a sample; it is trained with the one that it ends in."}
    )
    missing_eos_score: float | None = field(
        default=None,
        metadata={
            "help": "Replaces the reward of a sample that ends neither in EOS nor in a stop string; None leaves it "
            "alone."
        },
    )
    train_cut_off: bool = field(
        default=True,
        metadata={
            "help": "Train on samples that were cut off, without EOS behind them; False leaves them out, and says how "
            "many."
        },
    )
    weight_column: str | None = field(
        default="weight",
        metadata={
            "help": "What the transform's rows call their weight, 0 or more, where they have one: their losses are "
            "multiplied by it. None for no weights."
        },
    )
    num_iterations: Annotated[int, AT_LEAST_ONE] = field(
        default=1, metadata={"help": "Rounds of sampling and fine-tuning, each from the last one's model."}
    )
    keep_logprobs: bool = field(
        default=False,
        metadata={"help": "Keep the log-probability of every sampled token, for transforms that read them."},
    )
    pairwise: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": 'Settings of DPOConfig for tune=\'pairwise\', such as {"beta": 0.1, "learning_rate": 1e-6}; what '
            "it shares with these settings is theirs unless it stands here."
        },
    )

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"temperature must be above 0, or all n samples are one; it is {self.temperature}.")
        if isinstance(self.pairwise, str):
            try:
                self.pairwise = json.loads(self.pairwise)
            except json.JSONDecodeError as error:
                raise ConfigError(f"pairwise is no JSON: {error}; give an object of DPO's settings.") from error
        self.check()
        super().__post_init__()
