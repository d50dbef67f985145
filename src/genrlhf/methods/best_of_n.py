"""Best-of-N distillation: fine-tuning on the best of N samples of every prompt, in rounds."""

from __future__ import annotations

from genrlhf.methods.method import Method

__all__ = ["METHOD"]

METHOD = Method(
    name="best_of_n",
    label="Best-of-N distillation",
    paper="Dong et al. 2023 (RAFT), arXiv 2304.06767; Stiennon et al. 2020, arXiv 2009.01325",
    loop="sample_and_tune",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:BestOfNTrainer",
    config="genrlhf.trainers:BestOfNConfig",
)
