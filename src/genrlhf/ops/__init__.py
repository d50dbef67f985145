"""Pure functions of tensors: masks, log-probabilities, KL estimators, advantages, losses, best-of-N."""

from __future__ import annotations

from genrlhf.ops.advantages import generalised_advantages, token_rewards
from genrlhf.ops.best_of_n import (
    best_of_n_kl,
    best_of_n_weights,
    simulate_best_of_n,
    soft_best_of_n_weights,
)
from genrlhf.ops.kl_control import adaptive_kl_coef
from genrlhf.ops.logprobs import KL_ESTIMATORS, chosen_logprobs, kl_estimate, logprobs_and_entropy, token_entropy
from genrlhf.ops.losses import ClippedLoss, clipped_policy_loss, clipped_value_loss
from genrlhf.ops.masking import masked_mean, masked_moments, position_ids, whiten
from genrlhf.ops.sums import running_sum, widened, widest_dtype
from genrlhf.ops.token_sets import EarlyTokens, nucleus, only_members, pack_bits, unpack_bits

__all__ = [
    "KL_ESTIMATORS",
    "ClippedLoss",
    "EarlyTokens",
    "adaptive_kl_coef",
    "best_of_n_kl",
    "best_of_n_weights",
    "chosen_logprobs",
    "clipped_policy_loss",
    "clipped_value_loss",
    "generalised_advantages",
    "kl_estimate",
    "logprobs_and_entropy",
    "masked_mean",
    "masked_moments",
    "nucleus",
    "only_members",
    "pack_bits",
    "position_ids",
    "running_sum",
    "simulate_best_of_n",
    "soft_best_of_n_weights",
    "token_entropy",
    "token_rewards",
    "unpack_bits",
    "whiten",
    "widened",
    "widest_dtype",
]
