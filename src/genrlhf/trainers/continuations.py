"""What a model that is being trained writes by itself, for objectives that look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from genrlhf.errors import ConfigError
from genrlhf.models.structure import context_length
from genrlhf.sampling.autoregressive import generate, stop_token_ids
from genrlhf.types import SamplingParams

if TYPE_CHECKING:
    from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = ["greedy_continuations"]


def greedy_continuations(
    batch: SupervisedBatch, ids: torch.Tensor, max_new_tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the likeliest next tokens of every row, one after the other, and which of them are some, (B, T) each.

    Args:
        batch: of the model, which is put back into its mode afterwards.
        ids: (B, L) int64, without padding.
        max_new_tokens: at most; EOS ends a row earlier.

    Raises:
        ConfigError: where the context has no room for them.
    """
    model, tokenizer = batch.model, batch.tokenizer
    room = context_length(model)
    if room is not None and ids.shape[1] + max_new_tokens > room:
        raise ConfigError(
            f"{ids.shape[1]} tokens are to be continued by {max_new_tokens}, and the model's context has {room}; lower "
            "one of them."
        )
    training = model.training
    model.eval()
    try:
        drawn = generate(
            model,
            ids,
            torch.ones_like(ids, dtype=torch.bool),
            SamplingParams(max_new_tokens, temperature=0),
            seeds=[0] * len(ids),
            eos_token_ids=stop_token_ids(model, tokenizer),
            pad_token_id=tokenizer.pad_token_id,
        )
    finally:
        model.train(training)
    return drawn.completion_ids, drawn.completion_mask
