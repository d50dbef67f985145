"""CARP: encoders of passages and critiques, whose cosine is a reward."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="carp",
    label="CARP",
    paper="Matiana et al. 2021, arXiv 2110.03111",
    loop="pairs",
    needs=("critiques",),
    trainer="genrlhf.trainers:CARPTrainer",
    config="genrlhf.trainers:CARPConfig",
    makes="reward",
)
