"""Fine-tune language models with SFT, PPO and best-of-N, and measure how they generalise and how diverse they are.

Trainers and tasks are loaded when first used; importing the package imports no library but the standard one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach
from genrlhf.errors import (
    ConfigError,
    DataError,
    GenRLHFError,
    JudgeError,
    ModelError,
    RewardError,
    RunFolderError,
    ShapeError,
)
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from genrlhf.data import Task, load_task
    from genrlhf.trainers import (
        BestOfNConfig,
        BestOfNTrainer,
        PPOConfig,
        PPOTrainer,
        RewardModelConfig,
        RewardModelTrainer,
        SampleAndTuneConfig,
        SampleAndTuneTrainer,
        SFTConfig,
        SFTTrainer,
    )

__version__ = "0.1.0"

__all__ = [
    "BestOfNConfig",
    "BestOfNTrainer",
    "ConfigError",
    "DataError",
    "Estimate",
    "GenRLHFError",
    "JudgeError",
    "ModelError",
    "PPOConfig",
    "PPOTrainer",
    "RewardError",
    "RewardModelConfig",
    "RewardModelTrainer",
    "RunFolderError",
    "SFTConfig",
    "SFTTrainer",
    "SampleAndTuneConfig",
    "SampleAndTuneTrainer",
    "ShapeError",
    "Task",
    "__version__",
    "load_task",
]

_HOMES = {
    "BestOfNConfig": "trainers",
    "BestOfNTrainer": "trainers",
    "PPOConfig": "trainers",
    "PPOTrainer": "trainers",
    "RewardModelConfig": "trainers",
    "RewardModelTrainer": "trainers",
    "SFTConfig": "trainers",
    "SFTTrainer": "trainers",
    "SampleAndTuneConfig": "trainers",
    "SampleAndTuneTrainer": "trainers",
    "Task": "data",
    "load_task": "data",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
