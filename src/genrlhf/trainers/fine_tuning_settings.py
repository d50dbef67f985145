"""The settings that SFT and reward models have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from genrlhf.models.precision import default_precision
from genrlhf.trainers.ranges import check_ranges

__all__ = ["FineTuningSettings"]


@dataclass
class FineTuningSettings:
    """Fields that a config has before those of a class of TRL.

    Learning rate and number of epochs default to those of Kirk et al. 2024. bfloat16 is used where a GPU has it, and
    nowhere else unless asked for.
    """

    learning_rate: float = field(default=3e-5, metadata={"help": "Peak learning rate of AdamW."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the rows."})
    # None, which is off: any other default would make transformers warn of a field that the user has not set.
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "Recompute activations in the backward pass: less memory, more time."}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens of prompt and completion; None is the model's context."}
    )
    freeze_layers: float = field(
        default=0.0,
        metadata={
            "help": "Share of the layers, from the first, that are frozen together with embeddings and LM head "
            "(the paper: 0.8); a score head is always trained. 0 trains everything."
        },
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Use output_dir even if it holds a run with other settings."}
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        default_precision(self)
        super().__post_init__()  # type: ignore[misc]
