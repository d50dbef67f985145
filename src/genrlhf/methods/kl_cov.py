"""KL-Cov: a penalty on the tokens by which entropy falls the most."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.ops import kl_cov_loss

if TYPE_CHECKING:
    from genrlhf.trainers import PPOConfig

__all__ = ["METHOD", "KLCov"]


@dataclass(frozen=True)
class KLCov:
    """A policy loss: unclipped, with c · abs(log π − log π_old) added for the tokens of the largest covariance.

    Cui et al. 2025 (arXiv 2505.22617), see `genrlhf.ops.kl_cov_loss`.

    Args:
        share: of tokens that are penalised, at least one of a micro-batch; 0 for none.
        coef: c, 0 or more.

    Raises:
        ConfigError: for a share outside [0, 1], or a coefficient below 0.
    """

    share: float = field(default=2e-4, metadata={"help": "Share of the tokens of a micro-batch that are penalised."})
    coef: float = field(default=1.0, metadata={"help": "Weight of the penalty."})

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigError(f"share is {self.share}; it must be 0 to 1 (the paper: 2e-4).")
        if not 0 <= self.coef < float("inf"):
            raise ConfigError(f"coef is {self.coef}; it must be 0 or more, and finite (the paper: 1).")

    def check_args(self, args: PPOConfig) -> None:
        """Raise `ConfigError` where every update is a rollout's first, at which the penalty has no gradient."""
        if args.updates_per_rollout == 1:
            raise ConfigError(
                "KL-Cov penalises what updates change, and a rollout serves one update, at which its gradient is 0; "
                "raise num_ppo_epochs or num_mini_batches."
            )

    def __call__(
        self, logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss of every token, (B, T)."""
        return kl_cov_loss(logprobs, old_logprobs, advantages, mask, share=self.share, coef=self.coef)


METHOD = Method(
    name="kl_cov",
    label="KL-Cov",
    paper="Cui et al. 2025, arXiv 2505.22617",
    loop="rollout",
    needs=("prompts", "reward"),
    recipe={"advantage": "grpo", "samples_per_prompt": 8},
    settings="genrlhf.methods.kl_cov:KLCov",
    argument="policy_loss",
)
