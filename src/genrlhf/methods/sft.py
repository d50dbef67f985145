"""Supervised fine-tuning: the cross-entropy of demonstrations."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="sft",
    label="SFT",
    paper="Kirk et al. 2024, arXiv 2310.06452",
    loop="supervised",
    needs=("demonstrations",),
    trainer="genrlhf.trainers:SFTTrainer",
    config="genrlhf.trainers:SFTConfig",
)
