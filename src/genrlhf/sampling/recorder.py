"""What is written down while completions are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.models.completions import inner_model
from genrlhf.models.freezing import decoder_layers
from genrlhf.ops import logprobs_and_entropy
from genrlhf.sampling.choose import next_tokens, penalise_repetition, uniforms
from genrlhf.types import Generation, SamplingParams, TrunkStates

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling.stops import StopStrings

__all__ = ["Recorder"]


class Recorder:
    """Draws the tokens of a batch of completions step by step and keeps them, with what is asked for beside them.

    Args:
        prompt_ids: (P, L) int64, left-padded.
        prompt_mask: (P, L) bool.
        params: how to draw.
        n: samples a prompt.
        seeds: P · n of them.
        eos_token_ids: any of these ends a completion.
        pad_token_id: fills completions behind their end.
        stops: finds the strings that end a completion; None for none.
        boundary: keep the hidden states that enter this layer; None keeps none.
    """

    def __init__(
        self,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        params: SamplingParams,
        *,
        n: int,
        seeds: Sequence[int],
        eos_token_ids: Sequence[int],
        pad_token_id: int,
        stops: StopStrings | None,
        boundary: int | None,
    ) -> None:
        total, length, device = len(prompt_ids) * n, params.max_new_tokens, prompt_ids.device
        self.prompt_ids, self.prompt_mask, self.params, self.n = prompt_ids, prompt_mask, params, n
        self.stops, self.boundary = stops, boundary
        self.eos = torch.tensor(list(eos_token_ids), device=device, dtype=torch.long)
        self.noise = uniforms(seeds, length).to(device) if params.temperature > 0 else None
        self.completion_ids = torch.full((total, length), pad_token_id, device=device)
        self.lengths = torch.full((total,), length, device=device)
        self.ended = torch.zeros(total, dtype=torch.bool, device=device)
        self.rows = torch.arange(total, device=device)
        self.step = 0
        self._seen: torch.Tensor | None = None
        self._logprobs: torch.Tensor | None = None
        self._entropy: torch.Tensor | None = None
        self._last_hidden: torch.Tensor | None = None
        self._prompt_states: torch.Tensor | None = None
        self._completion_states: torch.Tensor | None = None

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """Draw the next token of every current row, (R,) int64, from logits (R, V) float32."""
        params, rows, t = self.params, self.rows, self.step
        scored = logits
        if params.repetition_penalty != 1:
            scored = penalise_repetition(logits, self._seen_tokens(logits.shape[-1])[rows], params.repetition_penalty)
        if t < params.min_new_tokens:
            scored = scored.index_fill(-1, self.eos, float("-inf"))
        tokens = next_tokens(scored, None if self.noise is None else self.noise[rows, t], params)
        running = ~self.ended[rows]
        live, drawn = rows[running], tokens[running]
        self.completion_ids[live, t] = drawn
        if params.logprobs:
            self._record_logprobs(logits[running], live, drawn)
        if self._seen is not None:
            self._seen[live, drawn] = True
        ends = torch.isin(drawn, self.eos)
        if self.stops is not None and t + 1 >= max(params.min_new_tokens, 1):
            ids = self.completion_ids[live, : t + 1].tolist()
            ends |= torch.tensor([self.stops.found(row) for row in ids], dtype=torch.bool, device=ends.device)
        self.lengths[live[ends]] = t + 1
        self.ended[live[ends]] = True
        self.step += 1
        return tokens

    def _seen_tokens(self, vocabulary: int) -> torch.Tensor:
        if self._seen is None:
            seen = torch.zeros(len(self.prompt_ids), vocabulary, dtype=torch.bool, device=self.prompt_ids.device)
            at = self.prompt_mask.nonzero(as_tuple=True)
            seen[at[0], self.prompt_ids[at]] = True
            self._seen = seen.repeat_interleave(self.n, dim=0)
        return self._seen

    def _record_logprobs(self, logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        if self._logprobs is None or self._entropy is None:
            self._logprobs, self._entropy = (
                torch.zeros(self.completion_ids.shape, device=logits.device) for _ in range(2)
            )
        chosen, entropy = logprobs_and_entropy(
            logits.unsqueeze(1), tokens.unsqueeze(1), temperature=self.params.temperature or 1.0
        )
        self._logprobs[rows, self.step], self._entropy[rows, self.step] = chosen[:, 0], entropy[:, 0]

    @contextmanager
    def watching(self, model: PreTrainedModel) -> Iterator[None]:
        """Keep the hidden states that pass through the model, where they were asked for."""
        handles = []
        owner = inner_model(model)
        if self.params.logprobs:
            handles.append(owner.get_output_embeddings().register_forward_pre_hook(self._keep_last_hidden))
        if self.boundary is not None:
            layer = decoder_layers(owner)[self.boundary]
            handles.append(layer.register_forward_pre_hook(self._keep_states, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep_last_hidden(self, _module: Any, args: tuple[torch.Tensor, ...]) -> None:
        hidden = args[0][:, -1]
        if self.step == self.params.max_new_tokens:
            return
        if self._last_hidden is None:
            self._last_hidden = hidden.new_zeros(*self.completion_ids.shape, hidden.shape[-1])
        if self.step == 0 and len(hidden) < len(self.rows):
            hidden = hidden.repeat_interleave(self.n, dim=0)
        self._last_hidden[self.rows, self.step] = hidden

    def _keep_states(self, _module: Any, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        if self._prompt_states is None or self._completion_states is None:
            self._prompt_states = hidden
            self._completion_states = hidden.new_zeros(*self.completion_ids.shape, hidden.shape[-1])
        else:
            self._completion_states[self.rows, self.step - 1] = hidden[:, 0]

    def generation(self) -> Generation:
        """Return what was drawn, cut to the longest completion."""
        width = int(self.lengths.max())

        def cut(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor[:, :width]

        states = cut(self._completion_states)
        return Generation(
            prompt_ids=self.prompt_ids.repeat_interleave(self.n, dim=0),
            prompt_mask=self.prompt_mask.repeat_interleave(self.n, dim=0),
            completion_ids=self.completion_ids[:, :width],
            completion_mask=torch.arange(width, device=self.lengths.device) < self.lengths.unsqueeze(-1),
            ended=self.ended,
            logprobs=cut(self._logprobs),
            entropy=cut(self._entropy),
            last_hidden=cut(self._last_hidden),
            trunk=None if self._prompt_states is None or states is None else TrunkStates(self._prompt_states, states),
        )
