"""DPO: the policy learns from pairs as a reward model would, without one."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="dpo",
    label="DPO",
    paper="Rafailov et al. 2023, arXiv 2305.18290",
    loop="pairs",
    needs=("preferences",),
    trainer="genrlhf.trainers:DPOTrainer",
    config="genrlhf.trainers:DPOConfig",
)
