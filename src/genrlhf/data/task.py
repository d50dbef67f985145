"""What a task is: the datasets that one experiment needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

    from genrlhf.types import RewardFunction

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """The datasets of one experiment.

    Attributes:
        name: what `load_task` was asked for.
        demonstrations: rows of `prompt`, `completion`, for SFT.
        prompts: rows of `prompt` (other columns reach the reward function), for PPO and best-of-N training.
        evaluation: rows of `prompt`, `reference` under "id", "ood" and, where there are several shifts, their names.
        preferences: rows of `prompt`, `chosen`, `rejected`, for the reward model; None where the data has none.
        validation: held-out rows, "demonstrations" and (where there are any) "preferences" and "critiques".
        gold: the true score of a completion, where the task has one.
        model: folder of a base model and tokenizer that belong to the task, where it has one.
        critiques: rows of `passage` and `critique`, or of a passage and its class, for CARP; None where there are none.
    """

    name: str
    demonstrations: Dataset
    prompts: Dataset
    evaluation: Mapping[str, Dataset]
    preferences: Dataset | None = None
    validation: Mapping[str, Dataset] = field(default_factory=dict)
    gold: RewardFunction | None = None
    model: str | None = None
    critiques: Dataset | None = None

    @property
    def labels(self) -> Dataset | None:
        """Rows of `prompt`, `completion` and `label`, true for the chosen one of a preference; None without those."""
        if self.preferences is None:
            return None
        sides = (("chosen", True), ("rejected", False))
        return self.preferences.map(
            lambda rows: {
                "prompt": [prompt for prompt in rows["prompt"] for _ in sides],
                "completion": [text for pair in zip(*(rows[name] for name, _ in sides), strict=True) for text in pair],
                "label": [label for _ in rows["prompt"] for _, label in sides],
            },
            batched=True,
            remove_columns=list(self.preferences.column_names),
        )
