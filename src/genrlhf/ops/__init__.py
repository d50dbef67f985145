"""Pure functions of tensors: masks, log-probabilities, KL estimators, advantages, losses, best-of-N."""

from __future__ import annotations

from genrlhf.ops.advantages import generalised_advantages, token_rewards
from genrlhf.ops.anchored import anchored_rewards
from genrlhf.ops.best_of_n import (
    best_of_n_kl,
    best_of_n_weights,
    simulate_best_of_n,
    soft_best_of_n_weights,
)
from genrlhf.ops.contrastive import class_logits, contrastive_losses, soft_cross_entropy, spherical_clusters
from genrlhf.ops.covariance import clip_cov_loss, kl_cov_loss, token_covariance
from genrlhf.ops.distillation import forward_kl, forward_kl_top_k
from genrlhf.ops.early_tokens import EarlyTokens
from genrlhf.ops.entropy_control import adaptive_entropy_coef
from genrlhf.ops.group_advantages import (
    GROUP_ADVANTAGES,
    dr_grpo_advantages,
    grpo_advantages,
    maxrl_advantages,
    pass_at_k_advantages,
    rloo_advantages,
)
from genrlhf.ops.group_rewards import (
    class_sizes,
    determinant_gains,
    distinct_rewards,
    shared_rewards,
    shifted_above_zero,
    uniqueness_weights,
)
from genrlhf.ops.kl_control import adaptive_kl_coef
from genrlhf.ops.logprobs import KL_ESTIMATORS, chosen_logprobs, kl_estimate, logprobs_and_entropy, token_entropy
from genrlhf.ops.losses import ClippedLoss, clipped_policy_loss, clipped_value_loss
from genrlhf.ops.masking import forgetful_mask, masked_mean, masked_moments, position_ids, whiten
from genrlhf.ops.pairs import (
    class_rarity,
    contrast_loss,
    good_and_bad,
    mean_distance,
    rarest_pair,
    soft_preference_logits,
)
from genrlhf.ops.ranking import first_best, ranking_loss
from genrlhf.ops.sums import running_sum, widened, widest_dtype
from genrlhf.ops.token_sets import nucleus, only_members
from genrlhf.ops.unlikelihood import first_occurrences, repeated_ngrams, repetition_rate, unlikelihood

__all__ = [
    "GROUP_ADVANTAGES",
    "KL_ESTIMATORS",
    "ClippedLoss",
    "EarlyTokens",
    "adaptive_entropy_coef",
    "adaptive_kl_coef",
    "anchored_rewards",
    "best_of_n_kl",
    "best_of_n_weights",
    "chosen_logprobs",
    "class_logits",
    "class_rarity",
    "class_sizes",
    "clip_cov_loss",
    "clipped_policy_loss",
    "clipped_value_loss",
    "contrast_loss",
    "contrastive_losses",
    "determinant_gains",
    "distinct_rewards",
    "dr_grpo_advantages",
    "first_best",
    "first_occurrences",
    "forgetful_mask",
    "forward_kl",
    "forward_kl_top_k",
    "generalised_advantages",
    "good_and_bad",
    "grpo_advantages",
    "kl_cov_loss",
    "kl_estimate",
    "logprobs_and_entropy",
    "masked_mean",
    "masked_moments",
    "maxrl_advantages",
    "mean_distance",
    "nucleus",
    "only_members",
    "pass_at_k_advantages",
    "position_ids",
    "ranking_loss",
    "rarest_pair",
    "repeated_ngrams",
    "repetition_rate",
    "rloo_advantages",
    "running_sum",
    "shared_rewards",
    "shifted_above_zero",
    "simulate_best_of_n",
    "soft_best_of_n_weights",
    "soft_cross_entropy",
    "soft_preference_logits",
    "spherical_clusters",
    "token_covariance",
    "token_entropy",
    "token_rewards",
    "uniqueness_weights",
    "unlikelihood",
    "whiten",
    "widened",
    "widest_dtype",
]
