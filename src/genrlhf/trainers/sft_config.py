"""The settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field

import trl

from genrlhf.trainers.fine_tuning_settings import FineTuningSettings

__all__ = ["SFTConfig"]


@dataclass
class SFTConfig(FineTuningSettings, trl.SFTConfig):
    """Settings of `SFTTrainer`, on top of every field of `trl.SFTConfig`.

    Learning rate and number of epochs default to those of Kirk et al. 2024. bfloat16 is used where a GPU has it, and
    nowhere else unless asked for.
    """

    disable_dropout: bool = field(default=True, metadata={"help": "Switch dropout off."})
    weight_column: str | None = field(
        default=None,
        metadata={
            "help": "A column with the weight of each row, 0 or more, by which its loss is multiplied; the step still "
            "divides by the number of tokens, so that 1 everywhere changes nothing. None for no weights."
        },
    )
