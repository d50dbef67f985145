"""Rewards that are shared among the completions of a prompt that say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from genrlhf.methods.alike import CLASSES_HELP, ClassesLike, as_classes, class_labels
from genrlhf.methods.method import Method
from genrlhf.ops import shared_rewards, shifted_above_zero
from genrlhf.ops.group_rewards import check_power

__all__ = ["METHOD", "Frequency"]


@dataclass(frozen=True)
class Frequency:
    """A reward of groups: r over the a-th power of how many completions of the prompt say the same.

    See `genrlhf.ops.shared_rewards`. With a = 1 an answer earns in all what its reward is, however often it is written,
    so that all right answers are worth the same. Rewards below 0 are shifted as those of `Darling` are.

    Args:
        power: a; with 0 nothing changes.
        classes: which completions say the same.

    Raises:
        ConfigError: for a power below 0, or classes that are none.

    Example:
        >>> Frequency()(completions=[["Yes", "yes ", "No"]], rewards=torch.ones(1, 3)).tolist()
        [[0.5, 0.5, 1.0]]
    """

    power: float = field(default=1.0, metadata={"help": "The power of the number of equal completions; 0 for none."})
    classes: ClassesLike = field(default="exact", metadata={"help": CLASSES_HELP})

    def __post_init__(self) -> None:
        check_power(self.power)
        as_classes(self.classes)

    def __call__(self, completions: Sequence[Sequence[str]], rewards: torch.Tensor) -> torch.Tensor:
        """Return the rewards that take their place, (G, n)."""
        labels = class_labels(self.classes, completions)
        return shared_rewards(shifted_above_zero(rewards), labels, power=self.power)


METHOD = Method(
    name="frequency",
    label="Shared rewards",
    paper="after GAPO, arXiv 2511.12596",
    loop="rollout",
    needs=("prompts", "reward"),
    recipe={"advantage": "dr_grpo", "samples_per_prompt": 8},
    settings="genrlhf.methods.frequency:Frequency",
    argument="group_reward",
)
