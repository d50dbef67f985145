"""GEM: a supervised loss that stops pushing once the sharpened policy agrees with the datum."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch.nn.functional import cross_entropy

from genrlhf.errors import ConfigError
from genrlhf.methods.method import Method
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = ["GEM", "METHOD"]


@dataclass(frozen=True)
class GEM(Objective):
    """Minimise β · cross-entropy(z / β, y), whose gradient in the logits z is softmax(z / β) − e_y.

    Li et al. 2024, "Preserving Diversity in Supervised Fine-Tuning of Large Language Models" (arXiv 2408.16673), with
    the linear weight w = 1. Its gradient is that of −Σ_v q(v) [log π(y) − log π(v)] with q = softmax(z / β) detached.
    Without regularisation the optimum at temperature 1 is that of the cross-entropy at temperature 1 / β, so compare it
    with a model that is sampled there. The value is no likelihood: `cross_entropy` is logged beside it.

    Args:
        beta: β, above 0; 1 is the cross-entropy, above 1 the policy is sharpened.

    Raises:
        ConfigError: for a β that is not above 0.

    Example:
        >>> from genrlhf import SFTConfig, SFTTrainer, load_task
        >>> task = load_task("embedded", n_demonstrations=8, n_preferences=8, n_prompts=8)
        >>> args = SFTConfig("gem", learning_rate=2e-5)
        >>> SFTTrainer(task.model, args, task.demonstrations, objective=GEM(beta=0.7)).train()  # doctest: +SKIP
    """

    beta: float = field(default=0.7, metadata={"help": "β: 1 is the cross-entropy; below 1 diversity is kept."})

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ConfigError(f"beta is {self.beta}; it must be above 0 (the paper: 0.7).")

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return the loss of every token, (N,)."""
        return self.beta * cross_entropy(batch.logits() / self.beta, batch.labels, reduction="none")


METHOD = Method(
    name="gem",
    label="GEM",
    paper="Li et al. 2024, arXiv 2408.16673",
    loop="supervised",
    needs=("demonstrations",),
    trainer="genrlhf.trainers:SFTTrainer",
    config="genrlhf.trainers:SFTConfig",
    recipe={"learning_rate": 2e-5, "num_train_epochs": 3.0, "lr_scheduler_type": "cosine", "warmup_steps": 0.03},
    settings="genrlhf.methods.gem:GEM",
)
