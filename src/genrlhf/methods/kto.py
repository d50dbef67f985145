"""KTO: the policy learns from completions that are wanted or not, each by itself."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="kto",
    label="KTO",
    paper="Ethayarajh et al. 2024, arXiv 2402.01306",
    loop="pairs",
    needs=("labels",),
    trainer="genrlhf.trainers:KTOTrainer",
    config="genrlhf.trainers:KTOConfig",
)
