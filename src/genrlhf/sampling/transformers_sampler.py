"""A `Sampler` over any causal language model that transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.data.asking import Asking
from genrlhf.data.chat import Prompt
from genrlhf.errors import ConfigError, ModelError
from genrlhf.models.families import shares_prefix
from genrlhf.models.structure import context_length
from genrlhf.sampling.autoregressive import generate, stop_token_ids
from genrlhf.sampling.batches import Batch, join_generations, plan_batches
from genrlhf.sampling.choose import sample_seeds
from genrlhf.sampling.comparable import refuse_unless_comparable
from genrlhf.sampling.decode import check_prompt_lengths, decode_completions, left_pad
from genrlhf.sampling.habits import habits_of
from genrlhf.sampling.stops import StopStrings
from genrlhf.types import WHOLE_VOCABULARY, Generation, MaskingPolicy, Sample, Sampler, SamplingParams, Support

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


__all__ = ["TransformersSampler"]


class TransformersSampler(Sampler):
    """Draws completions with a transformers model on the device that the model is on.

    Prompts of like length are decoded together, as many as keep to both limits; a batch that does not fit into memory
    is halved, and so are later ones of its size.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, with a pad token.
        batch_size: sequences decoded at a time.
        max_batch_tokens: tokens whose keys and values are held at a time, those of a prompt counted as often as it
            is stored: once in the families that share it, n times in others.
        cuda_graphs: on a GPU record a decoding step once and repeat it, see `generate`.
        asking: what stands around each prompt when the model is asked, see `genrlhf.data.asking`; None for nothing.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = 128,
        max_batch_tokens: int = 65536,
        cuda_graphs: bool = True,
        asking: Asking | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("max_batch_tokens", max_batch_tokens)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}.")
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_batch_tokens = max_batch_tokens
        self.cuda_graphs = cuda_graphs
        self.asking = asking
        self._tokens_that_fit = max_batch_tokens

    def update_weights(self, model: PreTrainedModel) -> None:
        """Draw from `model` from now on."""
        self.model = model

    def stream(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        seed: int,
        *,
        rows: Sequence[int] | None = None,
        done: Container[int] = (),
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yield `(place in prompts, its n samples)` batch by batch, the longest prompts first.

        How prompts are put into batches does not depend on `done`, so that a run that was cut off ends with the same
        samples, bit for bit. A batch is left out where all of its prompts are done.
        """
        ids, batches = self._plan(prompts, n, params)
        rows = range(len(prompts)) if rows is None else rows
        gathered: list[list[Sample]] = []
        run = partial(self._run, ids=ids, params=params, seeds_of=lambda i: sample_seeds(seed, [rows[i]], n))
        for batch in batches:
            if all(place in done for place in batch.places):
                continue
            for part, generation in self._decode(batch, params.max_new_tokens, run):
                samples = self._samples(generation, params)
                each = part.last - part.first
                # The parts of one prompt's samples come one after the other.
                gathered = [] if part.first == 0 else gathered
                gathered = gathered or [[] for _ in part.places]
                for number in range(len(part.places)):
                    gathered[number] += samples[number * each : (number + 1) * each]
                if part.last == n:
                    yield from zip(part.places, gathered, strict=True)

    def batches(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> list[Sequence[int]]:
        """Return the places of prompts that are decoded together, the longest first."""
        return list(dict.fromkeys(batch.places for batch in self._plan(prompts, n, params)[1]))

    def generate(
        self,
        prompts: Sequence[Prompt],
        n: int,
        params: SamplingParams,
        seeds: Sequence[int],
        *,
        boundary: int | None = None,
        masking: MaskingPolicy | None = None,
        support: Support = WHOLE_VOCABULARY,
    ) -> Generation:
        """Draw `n` completions of every prompt and return them as token ids, the samples of one prompt side by side.

        Args:
            prompts: text or messages.
            n: samples a prompt.
            params: how to draw.
            seeds: one for each sample, see `sample_seeds`.
            boundary: see `generate`.
            masking: see `generate`.
            support: see `generate`.

        Raises:
            ModelError: for a model whose `generate` is not true to its forward pass in training.
        """
        refuse_unless_comparable(self.model, own_draws=True, device=self.model.device)
        ids, batches = self._plan(prompts, n, params)
        options: dict[str, Any] = {"boundary": boundary, "masking": masking, "support": support}
        run = partial(self._run, ids=ids, params=params, seeds_of=lambda i: seeds[i * n : (i + 1) * n], **options)
        found = [pair for batch in batches for pair in self._decode(batch, params.max_new_tokens, run)]
        pad = int(self.tokenizer.pad_token_id)
        return join_generations([part for part, _ in found], [generation for _, generation in found], n, pad)

    def encoded(self, prompts: Sequence[Prompt], max_new_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prompts as the model is asked: left-padded ids, (B, P) int64, and their mask, (B, P) bool.

        Raises:
            DataError: for a prompt that leaves no room for completions in the model's context.
        """
        ids, mask = left_pad(self._ids(prompts, max_new_tokens), int(self.tokenizer.pad_token_id))
        return ids.to(self.model.device), mask.to(self.model.device)

    def _ids(self, prompts: Sequence[Prompt], max_new_tokens: int) -> list[list[int]]:
        """Return the token ids of prompts as the model is asked."""
        asked = prompts if self.asking is None else [self.asking(prompt) for prompt in prompts]
        context = context_length(self.model)
        limit = context - max_new_tokens if context is not None else None
        return check_prompt_lengths(self.tokenizer, asked, max_length=limit)

    def _plan(self, prompts: Sequence[Prompt], n: int, params: SamplingParams) -> tuple[list[list[int]], list[Batch]]:
        if n < 1:
            raise ConfigError(f"n, the samples of a prompt, must be at least 1, not {n}.")
        ids = self._ids(prompts, params.max_new_tokens)
        habits = None if shares_prefix(self.model) else habits_of(self.model)
        batches = plan_batches(
            [len(row) for row in ids],
            n,
            params.max_new_tokens,
            max_sequences=self.batch_size if habits is None or habits.reads_batches else 1,
            max_tokens=self.max_batch_tokens,
            one_length=habits is not None and not habits.reads_left_padding,
            shared=habits is None,
        )
        return ids, batches

    def _decode(
        self, batch: Batch, max_new_tokens: int, run: Callable[[Batch], Generation]
    ) -> Iterator[tuple[Batch, Generation]]:
        """Run a batch, or one after the other its halves where it does not fit into memory."""
        halves = batch.halves()
        if halves is None or batch.tokens(max_new_tokens) <= self._tokens_that_fit:
            try:
                yield batch, run(batch)
                return
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if halves is None:
                    raise ModelError(
                        f"One completion of a prompt of {batch.width} tokens does not fit into memory; lower "
                        "max_new_tokens, load the model in a smaller dtype, or shorten the prompt."
                    ) from error
            self._tokens_that_fit = batch.tokens(max_new_tokens) // 2
            # Only here, behind the handler, has the failed attempt let go of its tensors.
            torch.cuda.empty_cache()
        for half in halves:
            yield from self._decode(half, max_new_tokens, run)

    def _run(
        self,
        batch: Batch,
        *,
        ids: Sequence[list[int]],
        params: SamplingParams,
        seeds_of: Callable[[int], Sequence[int]],
        **options: Any,
    ) -> Generation:
        pad = int(self.tokenizer.pad_token_id)
        prompt_ids, prompt_mask = left_pad([ids[place] for place in batch.places], pad)
        was_training = self.model.training
        self.model.eval()
        try:
            return generate(
                self.model,
                prompt_ids.to(self.model.device),
                prompt_mask.to(self.model.device),
                params,
                n=batch.last - batch.first,
                seeds=[seed for place in batch.places for seed in seeds_of(place)[batch.first : batch.last]],
                eos_token_ids=stop_token_ids(self.model, self.tokenizer),
                pad_token_id=pad,
                stops=StopStrings(self.tokenizer, params.stop) if params.stop else None,
                closing_token_id=self.tokenizer.eos_token_id if options.get("boundary") is not None else None,
                cuda_graphs=self.cuda_graphs,
                **options,
            )
        finally:
            self.model.train(was_training)

    def _samples(self, generation: Generation, params: SamplingParams) -> list[Sample]:
        lengths = generation.completion_mask.sum(-1).tolist()
        texts = decode_completions(self.tokenizer, generation, params)
        logprobs = generation.logprobs.tolist() if generation.logprobs is not None else [None] * len(texts)
        columns = texts, generation.ended.tolist(), lengths, logprobs, generation.completion_ids.tolist()
        return [
            Sample(
                text, "stop" if ended else "length", length, None if values is None else values[:length], ids[:length]
            )
            for text, ended, length, values, ids in zip(*columns, strict=True)
        ]


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
