"""The rule for completions that were cut off: those that end neither in EOS nor in a stop string."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from genrlhf.errors import ConfigError

__all__ = ["CutOffRule"]


@dataclass(frozen=True)
class CutOffRule:
    """What being cut off does to the score of a completion; one of the two at most.

    In training on completions, whatever the loop, the tokens of one that was cut off are trained as they were sampled:
    no EOS is put behind them, which would teach the model to stop in mid-sentence.

    Attributes:
        score: replaces the score (Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO", detail 4).
        penalty: is subtracted from it.
    """

    score: float | None = None
    penalty: float | None = None

    def __post_init__(self) -> None:
        if self.score is not None and self.penalty is not None:
            raise ConfigError(
                "missing_eos_score replaces a score and missing_eos_penalty lowers it; set one of them to None."
            )

    def apply(self, scores: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
        """Return the scores by this rule.

        Args:
            scores: any shape, floating point.
            ended: the same shape, bool.
        """
        if self.score is not None:
            return scores.masked_fill(~ended, self.score)
        if self.penalty is not None:
            return scores - self.penalty * (~ended).to(scores.dtype)
        return scores

    def of_rewards(self, rewards: Any, ended: Any) -> torch.Tensor:
        """Return rewards by this rule, float64 on the processor.

        Args:
            rewards: numbers, or lists of them.
            ended: as many of True and False.
        """
        return self.apply(torch.tensor(rewards, dtype=torch.float64), torch.tensor(ended))
