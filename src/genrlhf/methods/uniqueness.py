"""Advantages that weigh more where fewer completions of the prompt say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from genrlhf.methods.alike import CLASSES_HELP, ClassesLike, as_classes, class_labels
from genrlhf.methods.method import Method
from genrlhf.ops import grpo_advantages, uniqueness_weights
from genrlhf.ops.group_rewards import check_power

__all__ = ["METHOD", "Uniqueness"]


@dataclass(frozen=True)
class Uniqueness:
    """An advantage: GRPO's, times w_i ∝ size(i)^−a with mean 1 in the group.

    arXiv 2601.08763, see `genrlhf.ops.uniqueness_weights`. A rare right answer gains more, and a rare wrong one loses
    more. The advantages of a group do not sum to 0 then.

    Args:
        power: a; with 0 it is GRPO.
        classes: which completions say the same.

    Raises:
        ConfigError: for a power below 0, or classes that are none.
    """

    power: float = field(default=1.0, metadata={"help": "The power of the number of equal completions; 0 is GRPO."})
    classes: ClassesLike = field(default="exact", metadata={"help": CLASSES_HELP})

    def __post_init__(self) -> None:
        check_power(self.power)
        as_classes(self.classes)

    def __call__(self, rewards: torch.Tensor, completions: Sequence[Sequence[str]]) -> torch.Tensor:
        """Return the advantages, (G, n)."""
        labels = class_labels(self.classes, completions).to(rewards.device)
        return grpo_advantages(rewards) * uniqueness_weights(labels, power=self.power)


METHOD = Method(
    name="uniqueness",
    label="Uniqueness",
    paper="arXiv 2601.08763",
    loop="rollout",
    needs=("prompts", "reward"),
    recipe={"samples_per_prompt": 8},
    settings="genrlhf.methods.uniqueness:Uniqueness",
    argument="advantage",
)
