"""The advantages under which pass@k is maximised, for rewards of 0 and 1."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="pass_at_k",
    label="pass@k training",
    paper="Chen et al. 2025, arXiv 2508.10751",
    loop="rollout",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:PPOTrainer",
    config="genrlhf.trainers:PPOConfig",
    recipe={"advantage": "pass_at_k", "samples_per_prompt": 8, "kl_coef": 0.0, "missing_eos_score": None},
)
