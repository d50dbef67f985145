"""What is written down while completions are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ModelError
from genrlhf.models.structure import decoder_layers, inner_model
from genrlhf.ops import chosen_logprobs, logprobs_and_entropy, nucleus
from genrlhf.ops.token_sets import pack_bits
from genrlhf.sampling.choose import draw_tokens, penalise_repetition, scale_and_filter, uniforms
from genrlhf.sampling.graphs import recording
from genrlhf.types import WHOLE_VOCABULARY, Generation, SamplingParams, Support, TrunkStates

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
        mask_top_p: draw from this nucleus of the logits that a masking policy gives; None for no such policy.
        support: the tokens that log-probabilities range over.
        fixed_steps: every step is to have the same shapes, see `StepGraphs`.
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
        mask_top_p: float | None = None,
        support: Support = WHOLE_VOCABULARY,
        fixed_steps: bool = False,
    ) -> None:
        total, length, device = len(prompt_ids) * n, params.max_new_tokens, prompt_ids.device
        self.prompt_ids, self.prompt_mask, self.params, self.n = prompt_ids, prompt_mask, params, n
        self.stops, self.boundary, self.mask_top_p, self.support = stops, boundary, mask_top_p, support
        self.fixed_steps = fixed_steps
        self.eos = torch.tensor(list(eos_token_ids), device=device, dtype=torch.long)
        self.noise = uniforms(seeds, length, device) if params.temperature > 0 else None
        self.completion_ids = torch.full((total, length), pad_token_id, device=device)
        self.lengths = torch.full((total,), length, device=device)
        self.ended = torch.zeros(total, dtype=torch.bool, device=device)
        self.rows = torch.arange(total, device=device)
        self.step = 0
        self.closed = False
        self._without_numbers: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        self._logprobs: torch.Tensor | None = None
        self._entropy: torch.Tensor | None = None
        self._unmasked_logprobs: torch.Tensor | None = None
        self._allowed: torch.Tensor | None = None
        self._last_hidden: torch.Tensor | None = None
        self._hidden_now: torch.Tensor | None = None
        self._states_now: torch.Tensor | None = None
        self._prompt_states: torch.Tensor | None = None
        self._completion_states: torch.Tensor | None = None

    def draw(self, logits: torch.Tensor, mask_logits: torch.Tensor | None = None) -> torch.Tensor:
        """Draw the next token of every current row, (R,) int64, from logits (R, V) float32.

        Args:
            logits: of the policy.
            mask_logits: of the masking policy, where there is one.
        """
        params, rows, t = self.params, self.rows, self.step
        if t == 0:
            self._without_numbers = logits.isnan().any(-1)
        scored = logits.index_fill(-1, self.eos, float("-inf")) if t < params.min_new_tokens else logits
        unmasked = scored if t < self.support.min_new_tokens else logits
        allowed = None
        if mask_logits is not None and self.mask_top_p is not None:
            if t < params.min_new_tokens:
                mask_logits = mask_logits.index_fill(-1, self.eos, float("-inf"))
            allowed = nucleus(mask_logits / (params.temperature or 1.0), self.mask_top_p)
            scored = scored.masked_fill(~allowed, float("-inf"))
        if params.repetition_penalty != 1:
            scored = penalise_repetition(scored, self._seen_tokens(logits.shape[-1])[rows], params.repetition_penalty)
        filtered = scale_and_filter(scored, params)
        tokens = draw_tokens(filtered, None if self.noise is None else self.noise[rows, t])
        if self.support.filtered:
            allowed = ~filtered.isneginf()
        if allowed is not None:
            self._record_allowed(allowed)
        masked = unmasked if allowed is None else unmasked.masked_fill(~allowed, float("-inf"))
        # Nothing of a row that has ended changes. Not by picking the others: the host would have to know how many.
        running = ~self.ended[rows]
        self._keep(self.completion_ids, running, tokens)
        if params.logprobs:
            self._record_logprobs(masked, running, tokens)
            if self.mask_top_p is not None and not self.support.filtered:
                self._record_unmasked(unmasked, running, tokens)
        if self._seen is not None:
            self._seen[rows, tokens] |= running
        ends = (tokens.unsqueeze(-1) == self.eos).any(-1)
        if self.stops is not None and t + 1 >= max(params.min_new_tokens, 1):
            ends |= self._at_stops(running)
        ends &= running
        self.lengths[rows] = torch.where(ends, t + 1, self.lengths[rows])
        self.ended[rows] |= ends
        self.step += 1
        return tokens

    def _keep(self, kept: torch.Tensor, running: torch.Tensor, found: torch.Tensor) -> None:
        """Write what this step has found, (R,) or (R, …), into (P · n, T) or (P · n, T, …), for rows still running."""
        rows, t = self.rows, self.step
        kept[rows, t] = torch.where(running.view(-1, *[1] * (found.dim() - 1)), found, kept[rows, t])

    def _at_stops(self, running: torch.Tensor) -> torch.Tensor:
        """Return which of the current rows have come to a stop string, (R,) bool."""
        assert self.stops is not None
        first = max(0, self.step + 1 - self.stops.window)
        ids = self.completion_ids[self.rows, first : self.step + 1]
        known = torch.cat([ids, running.unsqueeze(-1)], dim=-1).tolist()
        return torch.tensor([bool(row.pop()) and self.stops.found(row) for row in known], device=ids.device)

    def close(self, token_id: int) -> torch.Tensor:
        """Return the token that closes every current row, (R,) int64, once the last one has been drawn."""
        self.step += 1
        self.closed = True
        return torch.full_like(self.rows, token_id)

    def _seen_tokens(self, vocabulary: int) -> torch.Tensor:
        if self._seen is None:
            seen = torch.zeros(len(self.prompt_ids), vocabulary, dtype=torch.bool, device=self.prompt_ids.device)
            at = self.prompt_mask.nonzero(as_tuple=True)
            seen[at[0], self.prompt_ids[at]] = True
            self._seen = seen.repeat_interleave(self.n, dim=0)
        return self._seen

    def _record_logprobs(self, logits: torch.Tensor, running: torch.Tensor, tokens: torch.Tensor) -> None:
        if self._logprobs is None or self._entropy is None:
            self._logprobs, self._entropy = (
                torch.zeros(self.completion_ids.shape, device=logits.device) for _ in range(2)
            )
        chosen, entropy = logprobs_and_entropy(
            logits.unsqueeze(1), tokens.unsqueeze(1), temperature=self.params.temperature or 1.0
        )
        self._keep(self._logprobs, running, chosen[:, 0])
        self._keep(self._entropy, running, entropy[:, 0])

    def _record_unmasked(self, logits: torch.Tensor, running: torch.Tensor, tokens: torch.Tensor) -> None:
        if self._unmasked_logprobs is None:
            self._unmasked_logprobs = torch.zeros(self.completion_ids.shape, device=logits.device)
        chosen = chosen_logprobs(logits.unsqueeze(1), tokens.unsqueeze(1), temperature=self.params.temperature or 1.0)
        self._keep(self._unmasked_logprobs, running, chosen[:, 0])

    def _record_allowed(self, allowed: torch.Tensor) -> None:
        packed = pack_bits(allowed)
        if self._allowed is None:
            # Behind the end of a completion everything is allowed, so that nothing there is infinite.
            self._allowed = packed.new_full((*self.completion_ids.shape, packed.shape[-1]), 255)
        self._keep(self._allowed, ~self.ended[self.rows], packed)

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
        self._hidden_now = hidden
        if not recording():
            self._write_last_hidden(hidden)

    def _write_last_hidden(self, hidden: torch.Tensor) -> None:
        if self.step >= self.params.max_new_tokens:
            return
        if self._last_hidden is None:
            self._last_hidden = hidden.new_zeros(*self.completion_ids.shape, hidden.shape[-1])
        if self.step == 0 and len(hidden) < len(self.rows):
            hidden = hidden.repeat_interleave(self.n, dim=0)
        self._last_hidden[self.rows, self.step] = hidden

    def _keep_states(self, _module: Any, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        states = args[0] if args else kwargs["hidden_states"]
        self._states_now = states
        if not recording():
            self._write_states(states)

    def keep_again(self) -> None:
        """Keep what has passed through the model in a recorded step that was repeated, where no hook is called."""
        if self._hidden_now is not None:
            self._write_last_hidden(self._hidden_now)
        if self._states_now is not None:
            self._write_states(self._states_now)

    def _write_states(self, hidden: torch.Tensor) -> None:
        if self._prompt_states is None or self._completion_states is None:
            self._prompt_states = hidden
            total, length = self.completion_ids.shape
            self._completion_states = hidden.new_zeros(total, length + 1, hidden.shape[-1])
        else:
            self._completion_states[self.rows, self.step - 1] = hidden[:, 0]

    def generation(self) -> Generation:
        """Return what was drawn, cut to the longest completion.

        Raises:
            ModelError: where the logits of a first token were NaN, so that what was drawn means nothing.
        """
        if self._without_numbers is not None and self._without_numbers.any():
            first = int(self._without_numbers.nonzero()[0]) // self.n
            raise ModelError(
                f"The model's logits behind prompt {first + 1} of the batch are NaN: its weights are damaged, or "
                "overflow in its dtype (load it in bfloat16 or float32 in place of float16)."
            )
        width = int(self.lengths.max())

        def cut(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor[:, :width]

        prompt_states, states = self._prompt_states, self._completion_states
        trunk = None
        if prompt_states is not None and states is not None:
            closing = states[:, -1] if self.closed else None
            closed = ~self.ended if self.closed else torch.zeros_like(self.ended)
            trunk = TrunkStates(prompt_states, states[:, :width], closing, closed)
        return Generation(
            prompt_ids=self.prompt_ids.repeat_interleave(self.n, dim=0),
            prompt_mask=self.prompt_mask.repeat_interleave(self.n, dim=0),
            completion_ids=self.completion_ids[:, :width],
            completion_mask=torch.arange(width, device=self.lengths.device) < self.lengths.unsqueeze(-1),
            ended=self.ended,
            logprobs=cut(self._logprobs),
            entropy=cut(self._entropy),
            last_hidden=cut(self._last_hidden),
            allowed=cut(self._allowed),
            unmasked_logprobs=cut(self._unmasked_logprobs),
            trunk=trunk,
        )
