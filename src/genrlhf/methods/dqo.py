"""DQO: rewards with a bonus for what a completion adds to the volume that its group spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from genrlhf.errors import ConfigError
from genrlhf.methods.alike import EncoderLike, cosines
from genrlhf.methods.method import Method
from genrlhf.metrics.diversity.embeddings import DEFAULT_ENCODER
from genrlhf.ops import determinant_gains

__all__ = ["DQO", "METHOD"]


@dataclass(frozen=True)
class DQO:
    """A reward of groups: r_i + α (log det(K + I) − log det(K_−i + I)), with K the cosines of the group's embeddings.

    arXiv 2509.04784, see `genrlhf.ops.determinant_gains`. The bonus lies between α log((n + 1) / n), where all are the
    same, and α log 2. It is paid for wrong completions too, as in the paper, unless `valid_at` is given.

    Args:
        alpha: α, above 0.
        encoder: of completions, as of `genrlhf.metrics.SentenceBERT`.
        valid_at: completions with a smaller reward get no bonus, and do not count as others; None for all.

    Raises:
        ConfigError: for an α that is not above 0.
    """

    alpha: float = field(default=0.3, metadata={"help": "Weight of the bonus, which is at most log 2 times it."})
    encoder: EncoderLike = field(
        default=DEFAULT_ENCODER,
        metadata={"help": "A sentence-transformers model, or package.module:NAME, texts to vectors."},
    )
    valid_at: float | None = field(
        default=None, metadata={"help": "The least reward of what gets, and counts for, a bonus; None for any."}
    )

    def __post_init__(self) -> None:
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"alpha is {self.alpha}; it must be above 0, and finite.")

    def __call__(self, completions: Sequence[Sequence[str]], rewards: torch.Tensor) -> torch.Tensor:
        """Return the rewards that take their place, (G, n)."""
        kernel = cosines(self.encoder, completions)
        if self.valid_at is not None:
            # A row of zeros: nothing is gained by it, nor lost by others.
            valid = (rewards >= self.valid_at).to(kernel)
            kernel = kernel * valid.unsqueeze(-1) * valid.unsqueeze(-2)
        return rewards + self.alpha * determinant_gains(kernel).to(rewards)


METHOD = Method(
    name="dqo",
    label="DQO",
    paper="arXiv 2509.04784",
    loop="rollout",
    needs=("prompts", "reward"),
    recipe={"advantage": "dr_grpo", "samples_per_prompt": 8},
    settings="genrlhf.methods.dqo:DQO",
    argument="group_reward",
)
