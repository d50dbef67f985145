"""DARLING: rewards that count for as much as a completion differs from the others of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from genrlhf.errors import ConfigError
from genrlhf.methods.alike import CLASSES_HELP, ClassesLike, as_classes, class_labels
from genrlhf.methods.method import Method
from genrlhf.ops import distinct_rewards, shifted_above_zero

__all__ = ["METHOD", "Darling"]


@dataclass(frozen=True)
class Darling:
    """A reward of groups: r times the share of the other completions that say something else.

    Li et al. 2025 (arXiv 2509.02534), see `genrlhf.ops.distinct_rewards`. What is wrong has a reward of 0 and is not
    paid for being different. Where a group has a reward below 0, the group's lowest is taken off all of its rewards
    first: a product would pay for duplicates.

    Args:
        classes: which completions say the same.
        floor: the least share; 0.1 in the authors' code.

    Raises:
        ConfigError: for a floor outside [0, 1], or classes that are none.

    Example:
        >>> Darling()(completions=[["Yes", "yes ", "No"]], rewards=torch.ones(1, 3)).tolist()
        [[0.5, 0.5, 1.0]]
    """

    classes: ClassesLike = field(default="exact", metadata={"help": CLASSES_HELP})
    floor: float = field(default=0.0, metadata={"help": "The least that a reward is multiplied by; 0.1 in their code."})

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"floor is {self.floor}; it must be a share, 0 to 1.")
        as_classes(self.classes)

    def __call__(self, completions: Sequence[Sequence[str]], rewards: torch.Tensor) -> torch.Tensor:
        """Return the rewards that take their place, (G, n)."""
        labels = class_labels(self.classes, completions)
        return distinct_rewards(shifted_above_zero(rewards), labels, floor=self.floor)


METHOD = Method(
    name="darling",
    label="DARLING",
    paper="Li et al. 2025, arXiv 2509.02534",
    loop="rollout",
    needs=("prompts", "reward"),
    recipe={"advantage": "dr_grpo", "samples_per_prompt": 8},
    settings="genrlhf.methods.darling:Darling",
    argument="group_reward",
)
