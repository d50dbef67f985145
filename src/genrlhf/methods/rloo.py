"""REINFORCE with a leave-one-out baseline among the completions of a prompt."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="rloo",
    label="RLOO",
    paper="Ahmadian et al. 2024, arXiv 2402.14740",
    loop="rollout",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:PPOTrainer",
    config="genrlhf.trainers:PPOConfig",
    recipe={"advantage": "rloo", "samples_per_prompt": 8, "loss_mean": "constant"},
)
