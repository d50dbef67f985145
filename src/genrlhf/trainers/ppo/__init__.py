"""PPO: settings, trainer, and what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genrlhf._lazy import attach

if TYPE_CHECKING:
    from genrlhf.trainers.ppo.config import PPOConfig
    from genrlhf.trainers.ppo.trainer import PPOTrainer

_HOMES = {"PPOConfig": "config", "PPOTrainer": "trainer"}

__all__ = ["PPOConfig", "PPOTrainer"]

__getattr__, __dir__ = attach(__name__, _HOMES)
