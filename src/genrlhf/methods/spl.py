"""Soft preference learning: DPO that weighs the policy's entropy and the pull of the reference apart."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="spl",
    label="Soft preference learning",
    paper="Slocum et al. 2025, arXiv 2511.08594",
    loop="pairs",
    needs=("preferences",),
    trainer="genrlhf.trainers:DPOTrainer",
    config="genrlhf.trainers:DPOConfig",
    # With alpha = beta it would be DPO.
    recipe={"alpha": 0.3, "beta": 0.1},
)
