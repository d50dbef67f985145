"""Diverse best-of-N distillation: fine-tuning on the sample of a prompt with the largest reward of the group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genrlhf.errors import ConfigError
from genrlhf.methods.alike import CLASSES_HELP, ClassesLike, EncoderLike
from genrlhf.methods.darling import Darling
from genrlhf.methods.dqo import DQO
from genrlhf.methods.frequency import Frequency
from genrlhf.methods.method import Method
from genrlhf.metrics.diversity.embeddings import DEFAULT_ENCODER
from genrlhf.places import given_or_placed
from genrlhf.rewards.groups import GroupReward, as_group_reward

if TYPE_CHECKING:
    import torch

    GroupRewardLike = Callable[..., Any] | str
else:
    # As the command line reads it.
    GroupRewardLike = str

__all__ = ["METHOD", "DiverseBestOfN"]


@dataclass(frozen=True)
class DiverseBestOfN:
    """A reward of groups by its name: what a best-of-N chooses by that is to keep rare completions.

    With `Darling` and `Frequency`, rewards of 0 and 1 and some completion that is right, the one chosen is a right one
    of the smallest class.

    Args:
        by: "darling", "frequency" or "dqo" (`Darling`, `Frequency`, `DQO`); or any reward of groups, or where it is.
        classes: of `Darling` and `Frequency`.
        alpha: of `DQO`.
        encoder: of `DQO`.

    Raises:
        ConfigError: for what is no reward of groups, or settings of it that cannot be.
    """

    by: GroupRewardLike = field(
        default="darling", metadata={"help": "A reward of groups: darling, frequency, dqo, or package.module:name."}
    )
    classes: ClassesLike = field(default="exact", metadata={"help": f"Of darling and frequency. {CLASSES_HELP}"})
    alpha: float = field(default=0.3, metadata={"help": "Of dqo: the weight of its bonus."})
    encoder: EncoderLike = field(
        default=DEFAULT_ENCODER,
        metadata={"help": "Of dqo: a sentence-transformers model, or package.module:NAME, texts to vectors."},
    )

    def __post_init__(self) -> None:
        self._reward()

    def _reward(self) -> GroupReward:
        named: dict[Any, Callable[[], Any]] = {
            "darling": lambda: Darling(self.classes),
            "frequency": lambda: Frequency(classes=self.classes),
            "dqo": lambda: DQO(self.alpha, self.encoder),
        }
        known = isinstance(self.by, str) and self.by in named
        found = as_group_reward(named[self.by]() if known else given_or_placed(self.by, "by"), argument="by")
        if found is None:
            raise ConfigError("by is None; give darling, frequency, dqo, or package.module:name.")
        return found

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._reward().name

    def __call__(self, prompts: Any, completions: Any, rewards: torch.Tensor, **columns: Any) -> Any:
        """Return the rewards that take their place, (G, n)."""
        return self._reward()(prompts, completions, rewards=rewards, **columns)


METHOD = Method(
    name="diverse_best_of_n",
    label="Diverse best-of-N distillation",
    paper="after Dong et al. 2023 (RAFT), arXiv 2304.06767, and Li et al. 2025 (DARLING), arXiv 2509.02534",
    loop="sample_and_tune",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:BestOfNTrainer",
    config="genrlhf.trainers:BestOfNConfig",
    settings="genrlhf.methods.diverse_best_of_n:DiverseBestOfN",
    argument="group_reward",
)
