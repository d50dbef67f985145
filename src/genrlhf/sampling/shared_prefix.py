"""Attention over a prompt that is stored once and the responses that belong to it.

The n samples of a prompt differ in their responses only, so keys and values of the prompt lie in memory once, and one
matrix product takes all n samples over them. The idea is that of bifurcated attention (Athiwaratkun et al. 2024,
"Bifurcated Attention", section 4); the softmax runs over prompt and response together, so the result is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from genrlhf.models.structure import inner_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["SharedPrefixCache", "shared_prefix_attention"]

ATTENTION = "genrlhf_shared_prefix"


class _Layer(CacheLayerMixin):
    """Keys and values of one layer: prompts (P, H, L, d), and responses (P · n, H, T, d) once `start` was called."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.prompt_keys: torch.Tensor | None = None
        self.prompt_values: torch.Tensor | None = None
        self.length = 0
        self.place: torch.Tensor | None = None
        self.width = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.prompt_keys, self.prompt_values = key_states, value_states
        self.is_initialized = True

    def start(self, n: int, max_length: int, *, fixed: bool) -> None:
        assert self.prompt_keys is not None and self.prompt_values is not None
        # They come as views of the projections' outputs, over which products are slower.
        self.prompt_keys, self.prompt_values = self.prompt_keys.contiguous(), self.prompt_values.contiguous()
        prompts, heads, _, _ = self.prompt_keys.shape
        self.keys, self.values = (
            # Where places are attended to before there is anything, NaN times 0 would be NaN.
            (like.new_zeros if fixed else like.new_empty)(prompts * n, heads, max_length, like.shape[-1])
            for like in (self.prompt_keys, self.prompt_values)
        )

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.keys is None or self.values is None:
            return key_states, value_states
        if self.place is not None:
            self.keys.index_copy_(2, self.place, key_states)
            self.values.index_copy_(2, self.place, value_states)
            return self.keys[:, :, : self.width], self.values[:, :, : self.width]
        self.keys[:, :, self.length] = key_states[:, :, 0]
        self.values[:, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def keep(self, prompts: torch.Tensor, rows: torch.Tensor) -> None:
        assert self.prompt_keys is not None and self.prompt_values is not None
        assert self.keys is not None and self.values is not None
        if len(prompts) < len(self.prompt_keys):
            self.prompt_keys, self.prompt_values = self.prompt_keys[prompts], self.prompt_values[prompts]
        for stored in (self.keys, self.values):
            stored[: len(rows), :, : self.length] = stored[rows, :, : self.length]
        self.keys, self.values = self.keys[: len(rows)], self.values[: len(rows)]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0 if self.keys is None else self.length

    def get_max_length(self) -> int:
        return -1


class SharedPrefixCache(Cache):
    """Keys and values of P prompts, each stored once, and of the n responses of each, in tensors made once.

    Use it in two phases: a forward pass over the prompts with the model's own attention, then `start`, then one token a
    row and forward pass within `decoding`.

    Args:
        num_layers: of the model.
        prompt_mask: (P, L) bool, left-padded.
    """

    def __init__(self, num_layers: int, prompt_mask: torch.Tensor) -> None:
        super().__init__(layers=[_Layer() for _ in range(num_layers)])
        self.prompt_mask = prompt_mask
        self.padded = not bool(prompt_mask.all())
        self.prompt_lengths = prompt_mask.sum(-1)
        self.samples = 1
        self.max_length = 0
        self.place: torch.Tensor | None = None
        self.behind: torch.Tensor | None = None

    def start(self, n: int, max_length: int, *, fixed: bool = False) -> None:
        """Make room for `max_length` response tokens in each of `n` samples of every prompt.

        Args:
            n: samples.
            max_length: tokens.
            fixed: attend to as many response places as `hold` says, and not to those behind the newest token, so that
                shapes do not change from one token to the next. The results are the same up to rounding.
        """
        self.samples, self.max_length = n, max_length
        if fixed:
            self.place = torch.zeros(1, dtype=torch.long, device=self.prompt_mask.device)
        for layer in self.layers:
            layer.start(n, max_length, fixed=fixed)
            layer.place = self.place

    @property
    def length(self) -> int:
        """Response tokens so far."""
        length: int = self.layers[0].length
        return length

    def hold(self, width: int) -> None:
        """Attend to `width` response places at the next token; only where shapes are fixed."""
        assert self.place is not None
        places = torch.arange(width, device=self.place.device)
        if self.behind is None or len(self.behind) != width:
            self.behind = torch.empty(width, dtype=torch.bool, device=places.device)
        # In place: a recorded step reads the same memory each time.
        torch.gt(places, self.place, out=self.behind)
        for layer in self.layers:
            layer.width = width

    def count(self) -> None:
        """Count a token whose keys and values have been stored; only where shapes are fixed."""
        assert self.place is not None
        self.place += 1
        for layer in self.layers:
            layer.length += 1

    def keep(self, prompts: torch.Tensor, rows: torch.Tensor) -> None:
        """Keep these prompts, (P',), and these rows, (P' · n',), as many of each prompt; both ascend."""
        self.samples = len(rows) // len(prompts)
        self.prompt_mask, self.prompt_lengths = self.prompt_mask[prompts], self.prompt_lengths[prompts]
        for layer in self.layers:
            layer.keep(prompts, rows)

    @property
    def next_positions(self) -> torch.Tensor:
        """Position of the next token of every row, (P · n, 1) int64."""
        positions: torch.Tensor = self.prompt_lengths + (self.length if self.place is None else self.place)
        return positions.repeat_interleave(self.samples).unsqueeze(-1)

    def visible(self, window: int | None) -> torch.Tensor | None:
        """Return which prompt positions the newest token sees, (P, L) bool, or None for all of them.

        Args:
            window: how many positions, its own included, a token of a sliding layer sees; None for all.
        """
        if window is None:
            return self.prompt_mask if self.padded else None
        width = self.prompt_mask.shape[1]
        first = width + self.layers[0].length - window
        within: torch.Tensor = torch.arange(width, device=self.prompt_mask.device) >= first
        return self.prompt_mask & within

    @contextmanager
    def decoding(self, model: PreTrainedModel) -> Iterator[None]:
        """Send the model's attention to `shared_prefix_attention`, and back at the end."""
        owner = inner_model(model)
        before = owner.config._attn_implementation
        owner.set_attn_implementation(ATTENTION)
        try:
            yield
        finally:
            owner.set_attn_implementation(before)


def shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    shared_prefix: SharedPrefixCache,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend from one new token a row to its prompt and to its response so far.

    Args:
        module: the attention layer.
        query: (P · n, H, 1, d).
        key: (P · n, H_kv, t, d), of the responses, the new token included.
        value: the same shape.
        attention_mask: unused; what counts of the prompts stands in `shared_prefix`.
        shared_prefix: holds keys and values of the prompts.
        scaling: of the scores; 1/√d by default.
        sliding_window: positions that a token sees; None for all.
        softcap: scores become `softcap · tanh(score / softcap)` (Gemma 2).
        s_aux: (H,), a score of each head that takes its share of the softmax and has no value (GPT-OSS).

    Returns:
        (P · n, 1, H, d), and None in place of the attention weights.
    """
    layer = shared_prefix.layers[module.layer_idx]
    prompts, kv_heads, width, _ = layer.prompt_keys.shape
    rows, heads, _, head_dim = query.shape
    samples, group, length = rows // prompts, heads // kv_heads, key.shape[2]
    scaling = head_dim**-0.5 if scaling is None else scaling
    # One product a prompt and key-value head takes all of its samples: (P, H_kv, n · g, d).
    grouped = query.view(prompts, samples, kv_heads, group, head_dim).transpose(1, 2)
    grouped = grouped.reshape(prompts, kv_heads, samples * group, head_dim)
    to_prompt = (grouped @ layer.prompt_keys.transpose(-1, -2)).view(prompts, kv_heads, samples, group, width)
    to_response = query.view(rows, kv_heads, group, head_dim) @ key.transpose(-1, -2)
    to_response = to_response.view(prompts, samples, kv_heads, group, length).transpose(1, 2)
    scores = torch.cat([to_prompt, to_response], dim=-1) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    visible = shared_prefix.visible(sliding_window)
    if visible is not None:
        scores[..., :width].masked_fill_(~visible[:, None, None, None], float("-inf"))
    if shared_prefix.behind is not None:
        scores[..., width:].masked_fill_(shared_prefix.behind, float("-inf"))
    if sliding_window is not None and length > sliding_window:
        scores[..., width : width + length - sliding_window] = float("-inf")
    if s_aux is not None:
        sink = s_aux.to(scores.dtype).view(1, kv_heads, 1, group, 1).expand(prompts, -1, samples, -1, -1)
        scores = torch.cat([scores, sink], dim=-1)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)[..., : width + length]
    over_prompt, over_response = weights.split([width, length], dim=-1)
    from_prompt = over_prompt.reshape(prompts, kv_heads, samples * group, width) @ layer.prompt_values
    from_response = over_response.transpose(1, 2).reshape(rows, kv_heads, group, length) @ value
    output = from_prompt.view(prompts, kv_heads, samples, group, -1).transpose(1, 2).reshape(rows, heads, -1)
    return (output + from_response.view(rows, heads, -1)).unsqueeze(1), None


AttentionInterface.register(ATTENTION, shared_prefix_attention)
