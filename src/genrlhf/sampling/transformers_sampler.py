"""A `Sampler` over any causal language model that transformers loads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from genrlhf.errors import ConfigError
from genrlhf.models.completions import context_length
from genrlhf.sampling.decode import Prompt, decode_completions, encode_prompts
from genrlhf.sampling.generate import generate, sample_seeds, stop_token_ids
from genrlhf.types import Generation, Sample, SamplingParams

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


__all__ = ["TransformersSampler"]


class TransformersSampler:
    """Draws completions with a transformers model on the device that the model is on.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, with a pad token.
        batch_size: sequences decoded at a time; the prompts of a batch share its padding.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 128) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}.")
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    def sample(self, prompts: Sequence[Prompt], n: int, params: SamplingParams, seed: int) -> list[list[str]]:
        """Return the texts of `n` completions of every prompt, in the order of the prompts.

        The same seed gives the same completions whatever the batch size (up to rounding in the model).
        """
        found = sorted(self.stream(prompts, n, params, seed), key=lambda pair: pair[0])
        return [[sample.text for sample in samples] for _, samples in found]

    def stream(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        seed: int,
        *,
        rows: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place in prompts, its n samples)` batch by batch."""
        if n < 1:
            raise ConfigError(f"n, the samples of a prompt, must be at least 1, not {n}.")
        rows = range(len(prompts)) if rows is None else rows
        per_batch = max(1, self.batch_size // n)
        for start in range(0, len(prompts), per_batch):
            places = range(start, min(start + per_batch, len(prompts)))
            seeds = sample_seeds(seed, [rows[i] for i in places], n)
            generation = self.generate([prompts[i] for i in places], n, params, seeds, first_row=start)
            texts = decode_completions(self.tokenizer, generation)
            samples = [
                Sample(text, "stop" if ended else "length", length)
                for text, ended, length in zip(
                    texts, generation.ended.tolist(), generation.completion_mask.sum(-1).tolist(), strict=True
                )
            ]
            for i, place in enumerate(places):
                yield place, samples[i * n : (i + 1) * n]

    def generate(
        self, prompts: Sequence[Prompt], n: int, params: SamplingParams, seeds: Sequence[int], *, first_row: int = 0
    ) -> Generation:
        """Draw `n` completions of every prompt as one batch and return them as token ids.

        Errors count the prompts from `first_row`.
        """
        context = context_length(self.model)
        limit = context - params.max_new_tokens if context is not None else None
        prompt_ids, prompt_mask = encode_prompts(self.tokenizer, prompts, max_length=limit, first_row=first_row)
        device = self.model.device
        was_training = self.model.training
        self.model.eval()
        try:
            return generate(
                self.model,
                prompt_ids.to(device),
                prompt_mask.to(device),
                params,
                n=n,
                seeds=seeds,
                eos_token_ids=stop_token_ids(self.model, self.tokenizer),
                pad_token_id=int(self.tokenizer.pad_token_id),
            )
        finally:
            self.model.train(was_training)
