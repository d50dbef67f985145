"""A reward model on preferences, −log σ(r_w − r_l): the stage before methods that need a reward."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="reward_model",
    label="Reward model",
    paper="Stiennon et al. 2020, arXiv 2009.01325",
    loop="pairs",
    needs=("preferences",),
    trainer="genrlhf.trainers:RewardModelTrainer",
    config="genrlhf.trainers:RewardModelConfig",
    makes="reward",
)
