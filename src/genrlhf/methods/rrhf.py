"""RRHF: completions as likely as their rewards rank them, and the best one imitated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods.method import Method
from genrlhf.ops import first_best, ranking_loss
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = ["METHOD", "RRHF"]


@dataclass(frozen=True)
class RRHF(Objective):
    """Minimise w Σ_{i, j: r_i < r_j} max(0, m(y_i) − m(y_j)) + NLL(y_best), with m(y) the mean log-probability of y.

    Yuan et al. 2023, "RRHF: Rank Responses to Align Language Models with Human Feedback without tears" (arXiv
    2304.05302), equations 2 to 5; a mean over the groups of a step, nothing detached. Their code divides by padded
    lengths, so not by those of completions. With w = 0 it is best-of-n distillation. There is no reference model: watch
    the KL.

    Args:
        rank_weight: w, 0 or more.
        nll: "mean" over the tokens of the best completion, or their "sum" as in the paper.

    Raises:
        ConfigError: for a weight below 0, or another `nll`.
    """

    rank_weight: float = field(default=1.0, metadata={"help": "w of the ranking; 0 imitates the best alone."})
    nll: str = field(default="mean", metadata={"help": "Of the best completion's tokens: mean, or sum (the paper)."})
    unit = "group"
    columns = ("rewards",)

    def __post_init__(self) -> None:
        if not 0 <= self.rank_weight < float("inf"):
            raise ConfigError(f"rank_weight is {self.rank_weight}; it must be 0 or more, and finite (the paper: 1).")
        if self.nll not in ("mean", "sum"):
            raise ConfigError(f"nll is {self.nll!r}; it must be mean or sum.")

    def check(self, rows: Any) -> None:
        """Raise `DataError` where no group has two rewards."""
        if self.rank_weight > 0 and all(len(set(rewards)) == 1 for rewards in rows["rewards"]):
            raise DataError(
                f"In each of {len(rows)} groups all rewards are equal: there is nothing to rank, and RRHF would be SFT "
                "on the first completion. Use a reward that tells them apart, or more samples a prompt."
            )

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return the loss of every group, (G,)."""
        logprobs = batch.logprobs()
        means, rewards = batch.mean_by_row(logprobs), logprobs.new_tensor(batch.columns["rewards"])
        ranking = ranking_loss(means, rewards, batch.groups, batch.n_groups)
        likelihoods = means if self.nll == "mean" else batch.sum_by_row(logprobs)
        imitation = -likelihoods[first_best(rewards, batch.groups, batch.n_groups)]
        batch.log("ranking", ranking)
        batch.log("imitation", imitation)
        return self.rank_weight * ranking + imitation


METHOD = Method(
    name="rrhf",
    label="RRHF",
    paper="Yuan et al. 2023, arXiv 2304.05302",
    loop="sample_and_tune",
    needs=("prompts", "reward"),
    trainer="genrlhf.trainers:SampleAndTuneTrainer",
    config="genrlhf.trainers:SampleAndTuneConfig",
    recipe={"n": 6, "learning_rate": 2e-5, "num_train_epochs": 3.0},
    settings="genrlhf.methods.rrhf:RRHF",
)
