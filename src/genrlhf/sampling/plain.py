"""Sampling by a model's own `generate`, and what has to be known of the model for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from genrlhf.models.families import without_router_logits
from genrlhf.models.freezing import inner_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling.recorder import Recorder

__all__ = ["Habits", "decode_plain", "habits_of"]

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
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
def habits_of(model: PreTrainedModel) -> Habits:
    """Return the habits of a model, which are tried once, on ten tokens, and remembered.

    Recurrent models often read padding as text, and some families leave it in by oversight; there is no telling from
    the config, least of all for a model with code of its own.
    """
    if model not in _KNOWN:
        was_training = model.training
        model.eval()
        try:
            _KNOWN[model] = _try_out(model)
        finally:
            model.train(was_training)
    return _KNOWN[model]


def _try_out(model: PreTrainedModel) -> Habits:
    owner = inner_model(model)
    vocabulary = int(owner.config.get_text_config().vocab_size)
    ids = (torch.arange(1, 11, device=model.device) * vocabulary) // 12
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
    low = model.dtype != torch.float32 or torch.is_autocast_enabled(model.device.type)
    tolerance = LOW_PRECISION_TOLERANCE if low else TOLERANCE[torch.float32]
    return Habits(*(_distance(found, alone) < tolerance for found in (beside, beside_longer, forward)))


def _forced(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, continuation: torch.Tensor) -> torch.Tensor:
    """Return the logits (T, B, V) that `generate` finds for prompts (B, L) while it is made to go on as given, (T,)."""
    seen: list[torch.Tensor] = []

    def force(_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token = continuation[len(seen)]
        seen.append(scores.float())
        return torch.full_like(scores, float("-inf")).index_fill(-1, token, 0.0)

    _run(model, ids, mask, [force], [], max_new_tokens=len(continuation), pad_token_id=0)
    return torch.stack(seen)


def _distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return how far logits (T, V) are apart, up to a constant, in units of their own spread."""
    usable = found.isfinite() & wanted.isfinite()
    found, wanted = (logits.float().masked_fill(~usable, 0.0) for logits in (found, wanted))
    count = usable.sum(-1, keepdim=True)
    found, wanted = ((each - each.sum(-1, keepdim=True) / count) * usable for each in (found, wanted))
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))


def decode_plain(model: PreTrainedModel, recorder: Recorder) -> None:
    """Let the model's own `generate` run the forward passes, and draw the tokens for it."""
    ids, mask = (each.repeat_interleave(recorder.n, dim=0) for each in (recorder.prompt_ids, recorder.prompt_mask))
    _run(
        model,
        ids,
        mask.long(),
        [_Draw(recorder)],
        [_Ended(recorder)],
        max_new_tokens=recorder.params.max_new_tokens,
        pad_token_id=int(recorder.completion_ids[0, 0]),
    )


def _run(
    model: PreTrainedModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    processors: list[Any],
    criteria: list[Any],
    *,
    max_new_tokens: int,
    pad_token_id: int,
) -> None:
    config = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=pad_token_id, use_cache=True)
    with _without_defaults(model):
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=processors,
            stopping_criteria=criteria,
            **without_router_logits(model),
        )


class _Draw(LogitsProcessor):
    """Leaves only the token that the recorder draws."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens = self.recorder.draw(scores.float())
        return torch.full_like(scores, float("-inf")).scatter(-1, tokens.unsqueeze(-1), 0.0)


class _Ended(StoppingCriteria):
    """Says which completions have ended."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return self.recorder.ended


@contextmanager
def _without_defaults(model: PreTrainedModel) -> Iterator[None]:
    """Keep the sampling settings that a model brings along (temperature, penalties, …) out of `generate`."""
    owner = inner_model(model)
    before = owner.generation_config
    owner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        owner.generation_config = before
