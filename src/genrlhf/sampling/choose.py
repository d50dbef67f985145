"""From the logits of one step to the tokens drawn, every completion from its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from genrlhf.ops import nucleus, running_sum, widest_dtype
from genrlhf.types import SamplingParams

__all__ = [
    "draw_tokens",
    "filter_logits",
    "next_tokens",
    "penalise_repetition",
    "sample_seeds",
    "scale_and_filter",
    "uniforms",
]


def sample_seeds(seed: int, rows: Sequence[int], n: int) -> list[int]:
    """Return one seed per (prompt, sample), distinct for distinct `(seed, row, sample index)`.

    A completion drawn with its own seed does not depend on what else is in the batch.
    """
    return [
        int(np.random.SeedSequence([seed, row, index]).generate_state(1, np.uint64)[0] >> 1)
        for row in rows
        for index in range(n)
    ]


def uniforms(seeds: Sequence[int], length: int, device: torch.device | None = None) -> torch.Tensor:
    """Return (len(seeds), length) numbers in [0, 1) of `widest_dtype`, every row from its own seed."""
    found = torch.stack(
        [torch.rand(length, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in seeds]
    )
    dtype = torch.float64 if device is None else widest_dtype(device)
    # What rounds up to 1 would point behind the last token that can be drawn.
    below = torch.nextafter(torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype))
    return found.to(dtype).clamp(max=below).to(device)


def penalise_repetition(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive and multiply negative logits of seen tokens by `penalty`.

    Keskar et al. 2019, "CTRL: A Conditional Transformer Language Model for Controllable Generation", section 4.1.

    Args:
        logits: (B, V) float.
        seen: (B, V) bool, True for the tokens of prompt and completion.
        penalty: above 0; above 1 discourages repetition.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def filter_logits(logits: torch.Tensor, *, top_k: int, top_p: float, min_p: float = 0.0) -> torch.Tensor:
    """Set the logits of the tokens that cannot be drawn to −inf.

    In this order: all but the `top_k` most likely tokens; what lies outside the nucleus, the smallest set of most
    likely tokens with probability at least `top_p` (Holtzman et al. 2020, "The Curious Case of Neural Text
    Degeneration", section 3.1); tokens less than `min_p` times as likely as the likeliest (Nguyen et al. 2024, "Turning
    Up the Heat: Min-p Sampling", section 3).

    Args:
        logits: (B, V) float, already divided by the temperature.
        top_k: 0 switches it off.
        top_p: 1.0 switches it off.
        min_p: 0.0 switches it off.
    """
    if 0 < top_k < logits.shape[-1]:
        threshold = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, float("-inf"))
    if top_p < 1.0:
        logits = logits.masked_fill(~nucleus(logits, top_p), float("-inf"))
    if min_p > 0.0:
        threshold = logits.amax(-1, keepdim=True) + np.log(min_p)
        logits = logits.masked_fill(logits < threshold, float("-inf"))
    return logits


def next_tokens(logits: torch.Tensor, uniform: torch.Tensor | None, params: SamplingParams) -> torch.Tensor:
    """Draw (B,) token ids by inverting the cumulative distribution at `uniform`; the argmax at temperature 0.

    Args:
        logits: (B, V) float32.
        uniform: (B,) in [0, 1), see `uniforms`; None at temperature 0.
        params: how to draw.
    """
    return draw_tokens(scale_and_filter(logits, params), None if params.temperature == 0 else uniform)


def scale_and_filter(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Return logits, (B, V) float32, at the sampling temperature, −inf where nothing can be drawn; as they are at 0."""
    if params.temperature == 0:
        return logits
    scaled = logits if params.temperature == 1 else logits / params.temperature
    return filter_logits(scaled, top_k=params.top_k, top_p=params.top_p, min_p=params.min_p)


def draw_tokens(logits: torch.Tensor, uniform: torch.Tensor | None) -> torch.Tensor:
    """Draw (B,) token ids from softmax(logits), see `next_tokens`; the argmax where `uniform` is None."""
    if uniform is None:
        return logits.argmax(-1)
    probabilities = logits.softmax(-1)
    cumulative = running_sum(probabilities, widest_dtype(logits.device))
    # Scaled by the total, so that rounding in the sum never points behind the last token.
    target = uniform.unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)
