"""The trainers and their settings, loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.trainers.best_of_n import BestOfNOutput, BestOfNTrainer
    from genrlhf.trainers.best_of_n_config import BestOfNConfig
    from genrlhf.trainers.carp import CARPConfig, CARPTrainer
    from genrlhf.trainers.coop_carp import CoOpCARPConfig, CoOpCARPTrainer
    from genrlhf.trainers.groups import Completion, Group
    from genrlhf.trainers.objective import Objective
    from genrlhf.trainers.ppo.callbacks import RolloutCallback
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.rollout_record import Rollout
    from genrlhf.trainers.ppo.trainer import PPOTrainer
    from genrlhf.trainers.preference_tuning import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
    from genrlhf.trainers.reward_model import RewardModelConfig, RewardModelTrainer
    from genrlhf.trainers.sample_and_tune import SampleAndTuneTrainer
    from genrlhf.trainers.sample_and_tune_config import SampleAndTuneConfig
    from genrlhf.trainers.sft import SFTTrainer
    from genrlhf.trainers.sft_config import SFTConfig
    from genrlhf.trainers.supervised_batch import SupervisedBatch
    from genrlhf.trainers.transforms import Round, Transform
    from genrlhf.trainers.tuning_rows import TuningRows

_HOMES = {
    "BestOfNConfig": "best_of_n_config",
    "BestOfNOutput": "best_of_n",
    "BestOfNTrainer": "best_of_n",
    "CARPConfig": "carp",
    "CARPTrainer": "carp",
    "CoOpCARPConfig": "coop_carp",
    "CoOpCARPTrainer": "coop_carp",
    "Completion": "groups",
    "DPOConfig": "preference_tuning",
    "DPOTrainer": "preference_tuning",
    "Group": "groups",
    "KTOConfig": "preference_tuning",
    "KTOTrainer": "preference_tuning",
    "Objective": "objective",
    "PPOConfig": "ppo.config",
    "PPOTrainer": "ppo.trainer",
    "RewardModelConfig": "reward_model",
    "RewardModelTrainer": "reward_model",
    "Rollout": "ppo.rollout_record",
    "RolloutCallback": "ppo.callbacks",
    "Round": "transforms",
    "SFTConfig": "sft_config",
    "SFTTrainer": "sft",
    "SampleAndTuneConfig": "sample_and_tune_config",
    "SampleAndTuneTrainer": "sample_and_tune",
    "SupervisedBatch": "supervised_batch",
    "Transform": "transforms",
    "TuningRows": "tuning_rows",
}

__all__ = [
    "BestOfNConfig",
    "BestOfNOutput",
    "BestOfNTrainer",
    "CARPConfig",
    "CARPTrainer",
    "CoOpCARPConfig",
    "CoOpCARPTrainer",
    "Completion",
    "DPOConfig",
    "DPOTrainer",
    "Group",
    "KTOConfig",
    "KTOTrainer",
    "Objective",
    "PPOConfig",
    "PPOTrainer",
    "RewardModelConfig",
    "RewardModelTrainer",
    "Rollout",
    "RolloutCallback",
    "Round",
    "SFTConfig",
    "SFTTrainer",
    "SampleAndTuneConfig",
    "SampleAndTuneTrainer",
    "SupervisedBatch",
    "Transform",
    "TuningRows",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
