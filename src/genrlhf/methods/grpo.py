"""Group-relative policy optimisation: rewards standardised among the completions of a prompt, the KL in the loss."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="grpo",
    label="GRPO",
    paper="Shao et al. 2024, arXiv 2402.03300",
    loop="rollout",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:PPOTrainer",
    config="genrlhf.trainers:PPOConfig",
    recipe={
        "advantage": "grpo",
        "samples_per_prompt": 8,
        "loss_mean": "sequence",
        "kl_in_loss": True,
        "kl_estimator": "k3",
        "kl_coef": 0.04,
    },
)
