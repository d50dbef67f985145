"""GRPO without the biases of dividing by the spread of a group and by the length of a completion."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="dr_grpo",
    label="Dr. GRPO",
    paper="Liu et al. 2025, arXiv 2503.20783",
    loop="rollout",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:PPOTrainer",
    config="genrlhf.trainers:PPOConfig",
    recipe={"advantage": "dr_grpo", "samples_per_prompt": 8, "loss_mean": "constant", "kl_coef": 0.0},
)
