"""Adversarial imitation: PPO whose reward is a discriminator's, which learns to tell samples from demonstrations."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="adversarial",
    label="Adversarial imitation",
    paper="Ho & Ermon 2016, arXiv 1606.03476; Wu et al. 2020, arXiv 2004.13796",
    loop="rollout",
    needs=("demonstrations",),
    settings="genrlhf.rewards:AdversarialReward",
    argument="reward",
)
