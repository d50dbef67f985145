"""Rewards relative to the group's mean: nearer to maximum likelihood, the more completions there are."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="maxrl",
    label="MaxRL",
    paper="arXiv 2602.02710",
    loop="rollout",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:PPOTrainer",
    config="genrlhf.trainers:PPOConfig",
    recipe={"advantage": "maxrl", "samples_per_prompt": 8, "kl_coef": 0.0, "missing_eos_score": None},
)
