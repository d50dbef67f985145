"""Proximal policy optimisation against a reward, with a KL penalty."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="ppo",
    label="PPO",
    paper="Schulman et al. 2017, arXiv 1707.06347; Kirk et al. 2024, arXiv 2310.06452",
    loop="rollout",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:PPOTrainer",
    config="genrlhf.trainers:PPOConfig",
)
