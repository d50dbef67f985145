"""Unlikelihood: what repeats is made unlikely, token by token and in the model's own greedy continuations."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch

from genrlhf.errors import ConfigError, DataError
from genrlhf.methods.method import Method
from genrlhf.ops import first_occurrences, repeated_ngrams, repetition_rate, unlikelihood
from genrlhf.trainers.continuations import greedy_continuations
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.ranges import AT_LEAST_ONE, SHARE, ZERO_OR_MORE, check_ranges
from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = ["METHOD", "Unlikelihood"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unlikelihood(Objective):
    """Minimise −ℓ_t − α Σ_{c ∈ C_t} log(1 − p(c)), or in some steps −(1/N) Σ_t R_t log(1 − p(ŷ_t)).

    Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training" (arXiv 1908.04319), equations 4 to 8. C_t
    holds each token once that stands before t in the same row, but y_t, padding and special tokens; a mean over the
    tokens of a step. With probability `seq_share` a step looks at sequences instead: each row's first `prefix` tokens
    are continued greedily by N = `continuation`, and R_t is 1 where ŷ_t lies in an n-gram that stood in ŷ before; a
    mean over ŷ, over rows by their labels. Their code has the earlier rows of a batch among the candidates, and misses
    the last n-gram. `seq_rep` of the continuations is logged beside that of the data.

    Raises:
        ConfigError: for a setting out of its range.
    """

    alpha: Annotated[float, ZERO_OR_MORE] = field(default=1.0, metadata={"help": "α; 0 is the cross-entropy."})
    seq_share: Annotated[float, SHARE] = field(
        default=0.5, metadata={"help": "Share of steps that penalise repeats in the model's own continuations."}
    )
    ngram: int = field(default=4, metadata={"help": "Tokens of what counts as a repeat there."})
    prefix: Annotated[int, AT_LEAST_ONE] = field(default=50, metadata={"help": "Tokens of a row that are continued."})
    continuation: Annotated[int, AT_LEAST_ONE] = field(default=100, metadata={"help": "Tokens of a continuation."})
    of_prompt: bool = field(default=True, metadata={"help": "Tokens of the prompt are not to be repeated either."})
    across_positions = True

    def __post_init__(self) -> None:
        check_ranges(self)
        if not 2 <= self.ngram <= self.continuation:
            raise ConfigError(f"ngram is {self.ngram}; it must be at least 2, and at most continuation.")

    @property
    def generates(self) -> bool:
        """Whether there are steps that look at continuations."""
        return self.seq_share > 0

    def check(self, rows: Any) -> None:
        """Say how many rows are too short to be continued; raise `DataError` where all are."""
        if self.seq_share == 0:
            return
        short = sum(len(ids) <= self.prefix for ids in rows["input_ids"])
        if short == len(rows):
            raise DataError(f"None of {short} rows is longer than prefix={self.prefix} tokens; lower it.")
        if short:
            counts = short, len(rows), self.prefix
            logger.warning("%d of %d rows have no more than prefix=%d tokens, and are not continued.", *counts)

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return the loss of every token, (N,)."""
        chance = random.Random(f"{batch.seed} {batch.step}").random()
        if batch.training and chance < self.seq_share:
            return self._of_sequences(batch)
        likelihood = -batch.logprobs()
        return likelihood if self.alpha == 0 else likelihood + self.alpha * self._of_tokens(batch)

    def _of_tokens(self, batch: SupervisedBatch) -> torch.Tensor:
        ids, (rows, places) = batch.input_ids, batch.places
        counted = batch.attention_mask & ~torch.isin(ids, ids.new_tensor(batch.tokenizer.all_special_ids))
        if not self.of_prompt:
            counted = counted & torch.zeros_like(counted).index_put((rows, places), counted.new_tensor(True))
        before = torch.arange(ids.shape[1], device=ids.device) < places.unsqueeze(1)
        candidates = ids[rows]
        wanted = first_occurrences(ids, counted)[rows] & before & (candidates != batch.labels.unsqueeze(1))
        losses = unlikelihood(batch.logits(), candidates, wanted)
        batch.log("unlikelihood", losses)
        return losses

    def _of_sequences(self, batch: SupervisedBatch) -> torch.Tensor:
        lengths = batch.attention_mask.sum(1)
        usable = (lengths > self.prefix).nonzero().squeeze(1)
        by_row = batch.logits().new_zeros(len(lengths))
        if len(usable):
            begun = batch.input_ids[usable, : self.prefix]
            drawn, mask = greedy_continuations(batch, begun, self.continuation)
            # Behind the end lies padding, which nothing that counts sees.
            before = torch.zeros_like(begun[:, 1:], dtype=torch.bool)
            logits = batch.logits_of(torch.cat([begun, drawn], 1), torch.cat([before, mask], 1))
            again = repeated_ngrams(drawn, self.ngram, mask)[mask].unsqueeze(1)
            costs = torch.zeros_like(mask, dtype=torch.float32).masked_scatter(
                mask, unlikelihood(logits, drawn[mask].unsqueeze(1), again)
            )
            by_row = by_row.index_copy(0, usable, costs.sum(1) / mask.sum(1))
            batch.log("seq_rep", repetition_rate(drawn, self.ngram, mask))
            data = batch.input_ids[usable, self.prefix :]
            batch.log("seq_rep/data", repetition_rate(data, self.ngram, batch.attention_mask[usable, self.prefix :]))
        return by_row[batch.places[0]] + 0.0 * batch.logits().sum()


METHOD = Method(
    name="unlikelihood",
    label="Unlikelihood",
    paper="Welleck et al. 2020, arXiv 1908.04319",
    loop="supervised",
    needs=("demonstrations",),
    recipe={"learning_rate": 6.25e-5},
    settings="genrlhf.methods.unlikelihood:Unlikelihood",
)
