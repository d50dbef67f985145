"""Clip-Cov: PPO's loss without some of the tokens by which entropy falls the most."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.ops import ClippedLoss, clip_cov_loss

__all__ = ["METHOD", "ClipCov"]


@dataclass(frozen=True)
class ClipCov:
    """A policy loss: PPO's, in which tokens drawn from those of a large covariance do not count.

    Cui et al. 2025 (arXiv 2505.22617), see `genrlhf.ops.clip_cov_loss`. The covariances that count depend on the scale
    of advantages.

    Args:
        share: of tokens that are drawn, at least one of a micro-batch that has any; 0 is PPO.
        low: covariance above which tokens are drawn.
        high: and below which.
        ratio_range: ε of PPO, in place of `clip_range`.

    Raises:
        ConfigError: for a share outside [0, 1], an empty range, or an ε that is not above 0.
    """

    share: float = field(default=2e-4, metadata={"help": "Share of the tokens of a micro-batch that do not count."})
    low: float = field(default=1.0, metadata={"help": "Covariance above which tokens are drawn."})
    high: float = field(default=5.0, metadata={"help": "Covariance below which tokens are drawn."})
    ratio_range: float = field(default=0.2, metadata={"help": "ε of the policy ratio, in place of clip_range."})

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share is {self.share}; it must be 0 to 1 (the paper: 2e-4).")
        if not self.low < self.high:
            raise ConfigError(f"No covariance is above low, {self.low}, and below high, {self.high} (the paper: 1, 5).")
        if not self.ratio_range > 0:
            raise ConfigError(f"ratio_range is {self.ratio_range}; it must be above 0 (PPO: 0.2).")

    def __call__(
        self, logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor
    ) -> ClippedLoss:
        """Return the loss of every token, (B, T), and where there is none."""
        options = {"share": self.share, "low": self.low, "high": self.high, "clip_range": self.ratio_range}
        return clip_cov_loss(logprobs, old_logprobs, advantages, mask, **options)


METHOD = Method(
    name="clip_cov",
    label="Clip-Cov",
    paper="Cui et al. 2025, arXiv 2505.22617",
    loop="rollout",
    needs=("prompts", "reward"),
    recipe={"advantage": "grpo", "samples_per_prompt": 8},
    settings="genrlhf.methods.clip_cov:ClipCov",
    argument="policy_loss",
)
