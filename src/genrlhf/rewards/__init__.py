"""Rewards of completions: reward models and their calibration, callables, weighted sums of them."""

from __future__ import annotations

from genrlhf.rewards.adversarial import AdversarialReward
from genrlhf.rewards.affine import Calibration
from genrlhf.rewards.calibration import calibrate_reward
from genrlhf.rewards.carp import CARPReward
from genrlhf.rewards.checks import check_rewards
from genrlhf.rewards.loading import RewardSource, load_reward
from genrlhf.rewards.model_reward import ModelReward
from genrlhf.rewards.weighted import WeightedReward

__all__ = [
    "AdversarialReward",
    "CARPReward",
    "Calibration",
    "ModelReward",
    "RewardSource",
    "WeightedReward",
    "calibrate_reward",
    "check_rewards",
    "load_reward",
]
