"""The completions of a micro-batch behind other prompts than their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from genrlhf.models.families import without_router_logits
from genrlhf.ops import chosen_logprobs
from genrlhf.trainers.lm_head import label_logits
from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = ["means_behind"]


def means_behind(
    batch: SupervisedBatch, prompts: Sequence[Sequence[Sequence[int]]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean log-probability of each row's labels behind other prompts, in one more forward pass.

    Args:
        batch: a micro-batch, whose own pass has been made.
        prompts: for each of its B rows the tokens of other prompts, as many as there are.

    Returns:
        (M,) float32 with a gradient, and the row of each, (M,) int64.
    """
    device, texts, counts, rows = batch.labels.device, [], [], []
    for row, others in enumerate(prompts):
        labels = batch.labels[batch.rows == row].cpu()
        for ids in others:
            texts.append(torch.cat([torch.tensor(list(ids), dtype=torch.int64), labels]))
            counts.append(len(labels))
            rows.append(row)
    if not texts:
        return batch.labels.new_zeros(0, dtype=torch.float32), batch.labels.new_zeros(0)
    lines = pad_sequence(texts, batch_first=True)
    attended = pad_sequence([torch.ones_like(text) for text in texts], batch_first=True)
    mask = torch.zeros(len(texts), lines.shape[1] - 1, dtype=torch.bool)
    for number, (text, count) in enumerate(zip(texts, counts, strict=True)):
        mask[number, len(text) - 1 - count : len(text) - 1] = True
    wanted, mask = lines[:, 1:][mask].to(device), mask.to(device)
    given = {"input_ids": lines.to(device), "attention_mask": attended.to(device), "use_cache": False}
    # Through the bare model: that of several processes counts its own passes, and has had this step's.
    logits = label_logits(batch.model, batch.model, {**given, **without_router_logits(batch.model)}, mask)[1].float()
    logprobs = chosen_logprobs(logits.unsqueeze(0), wanted.unsqueeze(0)).squeeze(0)
    text_of = torch.arange(len(texts), device=device).repeat_interleave(torch.tensor(counts, device=device))
    sums = logprobs.new_zeros(len(texts)).index_add(0, text_of, logprobs)
    return sums / sums.new_tensor(counts), torch.tensor(rows, device=device)
