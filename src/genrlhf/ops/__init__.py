"""Pure functions of tensors: masks, log-probabilities, KL estimators, advantages, losses, best-of-N."""

from __future__ import annotations

from genrlhf.ops.advantages import generalised_advantages, token_rewards
from genrlhf.ops.best_of_n import (
    best_of_n_kl,
    best_of_n_weights,
    simulate_best_of_n,
    soft_best_of_n_weights,
)
from genrlhf.ops.logprobs import KL_ESTIMATORS, kl_estimate, logprobs_and_entropy
from genrlhf.ops.losses import ClippedLoss, clipped_policy_loss, clipped_value_loss
from genrlhf.ops.masking import masked_mean, masked_moments, position_ids, whiten

__all__ = [
    "KL_ESTIMATORS",
    "ClippedLoss",
    "best_of_n_kl",
    "best_of_n_weights",
    "clipped_policy_loss",
    "clipped_value_loss",
    "generalised_advantages",
    "kl_estimate",
    "logprobs_and_entropy",
    "masked_mean",
    "masked_moments",
    "position_ids",
    "simulate_best_of_n",
    "soft_best_of_n_weights",
    "token_rewards",
    "whiten",
]
