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
from genrlhf.types import WHOLE_VOCABULARY, Generation, SamplingParams, Support, TrunkStates

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from genrlhf.sampling.stops import StopStrings

__all__ = ["Recorder"]


class Recorder:
    """Draws the tokens of a batch of completions step by step and keeps them, with what is asked for beside them.

    Arguments are those of `genrlhf.sampling.generate`; of a masking policy it gets the logits, see `draw`, and
    `mask_top_p`, the probability of its nucleus.
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
    ) -> None:
        total, length, device = len(prompt_ids) * n, params.max_new_tokens, prompt_ids.device
        self.prompt_ids, self.prompt_mask, self.params, self.n = prompt_ids, prompt_mask, params, n
        self.stops, self.boundary, self.mask_top_p, self.support = stops, boundary, mask_top_p, support
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
        self._kept: dict[str, torch.Tensor] = {}
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
        rows, t = self.rows, self.step
        if t == 0:
            self._without_numbers = logits.isnan().any(-1)
        scored, allowed = self._limited(logits, mask_logits)
        tokens = draw_tokens(scored, None if self.noise is None else self.noise[rows, t])
        if self.support.filtered:
            allowed = ~scored.isneginf()
        # Nothing of a row that has ended changes. Not by picking the others: the host would have to know how many.
        running = ~self.ended[rows]
        self._write(self.completion_ids, tokens, running)
        if allowed is not None:
            # Behind the end of a completion everything is allowed, so that nothing there is infinite.
            self._keep("allowed", pack_bits(allowed), running, behind=255)
        if self.params.logprobs:
            self._keep_logprobs(logits, allowed, tokens, running)
            self._keep_last_hidden()
        if self._seen is not None:
            self._seen[rows, tokens] |= running
        ends = (tokens.unsqueeze(-1) == self.eos).any(-1)
        if self.stops is not None and t + 1 >= max(self.params.min_new_tokens, 1):
            ends |= self._at_stops(running)
        ends &= running
        self.lengths[rows] = torch.where(ends, t + 1, self.lengths[rows])
        self.ended[rows] |= ends
        self.step += 1
        return tokens

    def _limited(
        self, logits: torch.Tensor, mask_logits: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the logits that are drawn from, and the tokens that a masking policy allows, bool; (R, V) each."""
        params, allowed = self.params, None
        scored = self._without_eos(logits, params.min_new_tokens)
        if mask_logits is not None and self.mask_top_p is not None:
            mask_logits = self._without_eos(mask_logits, params.min_new_tokens)
            allowed = nucleus(mask_logits / (params.temperature or 1.0), self.mask_top_p)
            scored = scored.masked_fill(~allowed, float("-inf"))
        if params.repetition_penalty != 1:
            seen = self._seen_tokens(logits.shape[-1])[self.rows]
            scored = penalise_repetition(scored, seen, params.repetition_penalty)
        return scale_and_filter(scored, params), allowed

    def _without_eos(self, logits: torch.Tensor, places: int) -> torch.Tensor:
        """Return logits in which EOS cannot be drawn at the first `places`."""
        return logits.index_fill(-1, self.eos, float("-inf")) if self.step < places else logits

    def _seen_tokens(self, vocabulary: int) -> torch.Tensor:
        if self._seen is None:
            seen = torch.zeros(len(self.prompt_ids), vocabulary, dtype=torch.bool, device=self.prompt_ids.device)
            at = self.prompt_mask.nonzero(as_tuple=True)
            seen[at[0], self.prompt_ids[at]] = True
            self._seen = seen.repeat_interleave(self.n, dim=0)
        return self._seen

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

    def _keep_logprobs(
        self, logits: torch.Tensor, allowed: torch.Tensor | None, tokens: torch.Tensor, running: torch.Tensor
    ) -> None:
        temperature = self.params.temperature or 1.0
        unmasked, ids = self._without_eos(logits, self.support.min_new_tokens), tokens.unsqueeze(1)
        masked = unmasked if allowed is None else unmasked.masked_fill(~allowed, float("-inf"))
        logprobs, entropy = logprobs_and_entropy(masked.unsqueeze(1), ids, temperature=temperature)
        self._keep("logprobs", logprobs[:, 0], running)
        self._keep("entropy", entropy[:, 0], running)
        if self.mask_top_p is not None and not self.support.filtered:
            logprobs = chosen_logprobs(unmasked.unsqueeze(1), ids, temperature=temperature)
            self._keep("unmasked_logprobs", logprobs[:, 0], running)

    def _keep_last_hidden(self) -> None:
        """Keep what the logits of this step were read from."""
        hidden = self._hidden_now
        if hidden is None:  # of a model whose head is no module that is called
            return
        if len(hidden) < len(self.rows):  # of prompts, which go through the model once for their samples
            hidden = hidden.repeat_interleave(self.n, dim=0)
        self._room("last_hidden", hidden)[self.rows, self.step] = hidden

    def _keep(self, name: str, found: torch.Tensor, running: torch.Tensor, *, behind: int = 0) -> None:
        """Keep what this step has found, (R,) or (R, …), for rows still running; `behind` stands behind their ends."""
        self._write(self._room(name, found, behind), found, running)

    def _room(self, name: str, found: torch.Tensor, behind: int = 0) -> torch.Tensor:
        if name not in self._kept:
            self._kept[name] = found.new_full((*self.completion_ids.shape, *found.shape[1:]), behind)
        return self._kept[name]

    def _write(self, kept: torch.Tensor, found: torch.Tensor, running: torch.Tensor) -> None:
        rows, t = self.rows, self.step
        kept[rows, t] = torch.where(running.view(-1, *[1] * (found.dim() - 1)), found, kept[rows, t])

    @contextmanager
    def watching(self, model: PreTrainedModel) -> Iterator[None]:
        """Look at the hidden states that pass through the model, where they are to be kept.

        They are written elsewhere: a step that was recorded as a CUDA graph is repeated without calling this, with its
        new states in the tensors that were seen here.
        """
        handles = []
        owner = inner_model(model)
        if self.params.logprobs:
            handles.append(owner.get_output_embeddings().register_forward_pre_hook(self._see_last_hidden))
        if self.boundary is not None:
            layer = decoder_layers(owner)[self.boundary]
            handles.append(layer.register_forward_pre_hook(self._see_states, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _see_last_hidden(self, _module: Any, args: tuple[torch.Tensor, ...]) -> None:
        self._hidden_now = args[0][:, -1]

    def _see_states(self, _module: Any, args: tuple[torch.Tensor, ...], kwargs: dict[str, Any]) -> None:
        self._states_now = args[0] if args else kwargs["hidden_states"]

    def keep_states(self) -> None:
        """Keep what has entered the boundary in the last forward pass: of the prompts first, then of drawn tokens."""
        if self._states_now is None:
            return
        if self._completion_states is None:
            self._prompt_states = self._states_now
            total, length = self.completion_ids.shape
            self._completion_states = self._states_now.new_zeros(total, length + 1, self._states_now.shape[-1])
        else:
            self._completion_states[self.rows, self.step - 1] = self._states_now[:, 0]

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
            trunk=trunk,
            **{name: kept[:, :width] for name, kept in self._kept.items()},
        )
