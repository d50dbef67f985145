"""Sampling by a model's own `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from genrlhf.models.families import without_router_logits
from genrlhf.models.structure import inner_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling.recorder import Recorder

__all__ = ["decode_plain", "run_generate"]


def decode_plain(model: PreTrainedModel, recorder: Recorder) -> None:
    """Let the model's own `generate` run the forward passes, and draw the tokens for it."""
    ids, mask = (each.repeat_interleave(recorder.n, dim=0) for each in (recorder.prompt_ids, recorder.prompt_mask))
    run_generate(
        model,
        ids,
        mask.long(),
        [_Draw(recorder)],
        [_Ended(recorder)],
        max_new_tokens=recorder.params.max_new_tokens,
        pad_token_id=int(recorder.completion_ids[0, 0]),
    )


def run_generate(
    model: PreTrainedModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    processors: list[Any],
    criteria: list[Any],
    *,
    max_new_tokens: int,
    pad_token_id: int,
) -> None:
    """Run a model's `generate` on `ids` (B, L) with `mask`, greedily after `processors`, without its own settings."""
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
