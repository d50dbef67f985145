"""The trainers and their settings, loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.trainers.best_of_n import BestOfNOutput, BestOfNTrainer
    from genrlhf.trainers.best_of_n_config import BestOfNConfig
    from genrlhf.trainers.objective import Objective, SupervisedBatch
    from genrlhf.trainers.ppo.callbacks import RolloutCallback
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.records import Rollout
    from genrlhf.trainers.ppo.trainer import PPOTrainer
    from genrlhf.trainers.preference_tuning import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
    from genrlhf.trainers.reward_model import RewardModelConfig, RewardModelTrainer
    from genrlhf.trainers.sft import SFTConfig, SFTTrainer

_HOMES = {
    "BestOfNConfig": "best_of_n_config",
    "BestOfNOutput": "best_of_n",
    "BestOfNTrainer": "best_of_n",
    "DPOConfig": "preference_tuning",
    "DPOTrainer": "preference_tuning",
    "KTOConfig": "preference_tuning",
    "KTOTrainer": "preference_tuning",
    "Objective": "objective",
    "PPOConfig": "ppo.config",
    "PPOTrainer": "ppo.trainer",
    "RewardModelConfig": "reward_model",
    "RewardModelTrainer": "reward_model",
    "Rollout": "ppo.records",
    "RolloutCallback": "ppo.callbacks",
    "SFTConfig": "sft",
    "SFTTrainer": "sft",
    "SupervisedBatch": "objective",
}

__all__ = [
    "BestOfNConfig",
    "BestOfNOutput",
    "BestOfNTrainer",
    "DPOConfig",
    "DPOTrainer",
    "KTOConfig",
    "KTOTrainer",
    "Objective",
    "PPOConfig",
    "PPOTrainer",
    "RewardModelConfig",
    "RewardModelTrainer",
    "Rollout",
    "RolloutCallback",
    "SFTConfig",
    "SFTTrainer",
    "SupervisedBatch",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
