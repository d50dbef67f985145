"""NLPO: PPO that draws only from the nucleus of a masking policy, a past state of the policy."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="nlpo",
    label="NLPO",
    paper="Ramamurthy et al. 2022, arXiv 2210.01241",
    loop="rollout",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:PPOTrainer",
    config="genrlhf.trainers:PPOConfig",
    recipe={"mask_top_p": 0.9, "mask_sync_rollouts": 10},
)
