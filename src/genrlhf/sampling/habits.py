"""What a model does that not every model does, found out by trying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from genrlhf.models.families import forward_arguments, without_router_logits
from genrlhf.models.structure import inner_model
from genrlhf.sampling.plain import run_generate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Habits", "habits_of", "reads_ahead"]

TOLERANCE = 1e-3
LOW_PRECISION_TOLERANCE = 0.2
"""Of root mean square differences of logits, in units of their standard deviation over the vocabulary."""


class Habits(NamedTuple):
    """What a model does in `generate` that not every model does.

    Attributes:
        reads_batches: a prompt is continued beside others of its length as it is alone.
        reads_left_padding: the same beside longer ones.
        as_forward: the logits are those of a forward pass over the same tokens.
    """

    reads_batches: bool
    reads_left_padding: bool
    as_forward: bool


_KNOWN: WeakKeyDictionary[nn.Module, Habits] = WeakKeyDictionary()


@torch.no_grad()
def reads_ahead(model: PreTrainedModel) -> bool:
    """Say whether a forward pass in eval mode finds other logits before a token when that is another one."""
    with _evaluating(model):
        ids = _ids(model)
        changed = torch.cat([ids[:6], ids[6:].flip(0)])
        mask = torch.ones_like(ids)[None].bool()
        before, after = (
            model(**forward_arguments(model, each[None], mask, positions=False)).logits[0, :6]
            for each in (ids, changed)
        )
        return _distance(after, before) >= _tolerance(model)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def habits_of(model: PreTrainedModel) -> Habits:
    """Return the habits of a model, which are tried once, on ten tokens, and remembered.

    Recurrent models often read padding as text, and some families leave it in by oversight; there is no telling from
    the config, least of all for a model with code of its own.
    """
    if model not in _KNOWN:
        with _evaluating(model):
            _KNOWN[model] = _try_out(model)
    return _KNOWN[model]


def _ids(model: PreTrainedModel) -> torch.Tensor:
    """Return ten tokens, (10,) int64, from all over the vocabulary."""
    vocabulary = int(inner_model(model).config.get_text_config().vocab_size)
    return (torch.arange(1, 11, device=model.device) * vocabulary) // 12


def _tolerance(model: PreTrainedModel) -> float:
    low = model.dtype != torch.float32 or torch.is_autocast_enabled(model.device.type)
    return LOW_PRECISION_TOLERANCE if low else TOLERANCE


def _try_out(model: PreTrainedModel) -> Habits:
    ids = _ids(model)
    longer, prompt, continuation = ids[:6], ids[6:7], ids[7:]
    padded = torch.stack([longer, torch.cat([longer.new_zeros(5), prompt])])
    padding_mask = torch.ones_like(padded)
    padding_mask[1, :5] = 0
    equal = torch.stack([longer[:1], prompt])
    beside_longer = _forced(model, padded, padding_mask, continuation)[:, 1]
    beside = _forced(model, equal, torch.ones_like(equal), continuation)[:, 1]
    # Twice, and a single token: some models take that for the next one of the text that they had before.
    for _ in range(2):
        alone = _forced(model, prompt[None], torch.ones_like(prompt[None]), continuation)[:, 0]
    text = torch.cat([prompt, continuation])[None]
    output = model(input_ids=text, attention_mask=torch.ones_like(text), **without_router_logits(model))
    forward = output.logits[0, -len(continuation) - 1 : -1]
    tolerance = _tolerance(model)
    return Habits(*(_distance(found, alone) < tolerance for found in (beside, beside_longer, forward)))


def _forced(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, continuation: torch.Tensor) -> torch.Tensor:
    """Return the logits (T, B, V) that `generate` finds for prompts (B, L) while it is made to go on as given, (T,)."""
    seen: list[torch.Tensor] = []

    def force(_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token = continuation[len(seen)]
        seen.append(scores.float())
        return torch.full_like(scores, float("-inf")).index_fill(-1, token, 0.0)

    run_generate(model, ids, mask, [force], [], max_new_tokens=len(continuation), pad_token_id=0)
    return torch.stack(seen)


def _distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return how far logits (T, V) are apart, up to a constant, in units of their own spread."""
    usable = found.isfinite() & wanted.isfinite()
    found, wanted = (logits.float().masked_fill(~usable, 0.0) for logits in (found, wanted))
    count = usable.sum(-1, keepdim=True)
    found, wanted = ((each - each.sum(-1, keepdim=True) / count) * usable for each in (found, wanted))
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))
