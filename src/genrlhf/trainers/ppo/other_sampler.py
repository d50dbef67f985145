"""A sampler of another library's, or a user's, in place of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ConfigError, ModelError
from genrlhf.sampling import TransformersSampler

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.types import Generation, SamplingParams, Support, TokenSampler

__all__ = ["OtherSampler", "as_own"]


def as_own(sampler: TokenSampler, support: Support, *, masked: bool) -> TransformersSampler | OtherSampler:
    """Return what takes all that our own sampler takes, beyond the protocol `TokenSampler`.

    Args:
        sampler: as a user gave it.
        support: the tokens that log-probabilities range over.
        masked: a masking policy limits what is drawn.

    Raises:
        ConfigError: where it would have to know which tokens could be drawn, and does not.
    """
    if isinstance(sampler, TransformersSampler):
        return sampler
    for name, wanted in (("mask_top_p", masked), ("renormalise='all' with a filter", support.filtered)):
        if wanted:
            raise ConfigError(
                f"{name} needs to know which tokens could be drawn, and a {type(sampler).__name__} does not say; "
                "leave sampler out, or switch that off."
            )
    return OtherSampler(sampler)


class OtherSampler:
    """Has a `TokenSampler` draw, and holds what it has drawn to what training assumes.

    Args:
        sampler: it.
    """

    def __init__(self, sampler: TokenSampler) -> None:
        self.sampler = sampler

    def update_weights(self, model: PreTrainedModel) -> None:
        """Draw from `model` from now on."""
        self.sampler.update_weights(model)

    def generate(
        self,
        prompts: Sequence[Any],
        n: int,
        params: SamplingParams,
        seeds: Sequence[int],
        *,
        support: Support,
        **_: Any,
    ) -> Generation:
        """Return `n` completions of every prompt, without log-probabilities where these would range over other tokens.

        Raises:
            ModelError: where a completion ends among its first `min_new_tokens`, which has no probability then.
        """
        found = self.sampler.generate(prompts, n, params, seeds)
        early = slice(None, support.min_new_tokens)
        ends = torch.tensor(support.eos_token_ids, device=found.completion_ids.device)
        if (torch.isin(found.completion_ids[:, early], ends) & found.completion_mask[:, early]).any():
            raise ModelError(
                f"A {type(self.sampler).__name__} drew EOS among the first {params.min_new_tokens} tokens; it must "
                "keep to min_new_tokens, or set min_new_tokens=0."
            )
        return replace(found, logprobs=None) if support.min_new_tokens else found
