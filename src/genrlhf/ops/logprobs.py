"""Log-probabilities of sampled tokens and estimators of the KL divergence between two policies."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import torch

from genrlhf.errors import ConfigError, ShapeError
from genrlhf.ops._checks import check_same_shape
from genrlhf.ops.early_tokens import EarlyTokens

__all__ = [
    "KL_ESTIMATORS",
    "KLEstimator",
    "chosen_logprobs",
    "kl_estimate",
    "logprobs_and_entropy",
    "token_entropy",
]

KLEstimator: TypeAlias = Literal["k1", "k2", "k3"]
KL_ESTIMATORS: Final[tuple[str, ...]] = get_args(KLEstimator)

SLICE_ELEMENTS = 1 << 22
"""Logits that are worked on at a time: 16 MiB in float32."""


NONE_EARLY: Final = EarlyTokens()


def chosen_logprobs(
    logits: torch.Tensor, token_ids: torch.Tensor, *, temperature: float = 1.0, early: EarlyTokens = NONE_EARLY
) -> torch.Tensor:
    """Return log p(token), (B, T) float32, for p = softmax(logits / temperature).

    The temperature must be the one that the tokens were sampled at: a log-probability taken at another one belongs to
    another policy. Works through a slice of the tokens at a time, forwards and backwards, and keeps nothing but the
    logits: a vocabulary wide, they are the largest tensor of a training step, and a softmax of them all would be
    another one.

    Args:
        logits: (B, T, V) of any floating dtype, the logits that predict `token_ids`; −inf where a token cannot occur.
        token_ids: (B, T) int64.
        temperature: above 0.
        early: tokens that have no probability at the first places.
    """
    if logits.shape[:-1] != token_ids.shape:
        raise ShapeError(
            f"logits are {tuple(logits.shape)}, token_ids {tuple(token_ids.shape)}; want (B, T, V), (B, T)."
        )
    chosen: torch.Tensor = _ChosenLogprobs.apply(logits, token_ids, temperature, early)  # type: ignore[no-untyped-call]
    return chosen


class _ChosenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, token_ids: torch.Tensor, temperature: float, early: EarlyTokens
    ) -> torch.Tensor:
        flat, barred = logits.flatten(0, 1), early.barred_rows(logits)
        # The maximum is taken off first: added to the logarithm of the sum, it would cost digits.
        if barred is None:
            most = flat.amax(-1, keepdim=True)
        else:
            most = torch.cat([early.bar_(flat[s].clone(), barred[s]).amax(-1, keepdim=True) for s in _slices(flat)])
        log_sum = torch.cat([_scaled(flat, most, s, temperature, early, barred).exp_().sum(-1) for s in _slices(flat)])
        log_sum = log_sum.unsqueeze(-1).log_()
        at = (flat.gather(-1, token_ids.flatten().unsqueeze(-1)).float() - most.float()) / temperature
        ctx.save_for_backward(logits, token_ids, most, log_sum)
        ctx.temperature, ctx.early = temperature, early
        return (at - log_sum).view(token_ids.shape)

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits, token_ids, most, log_sum = ctx.saved_tensors
        flat, ids, scale = logits.flatten(0, 1), token_ids.flatten(), outputs[0].flatten() / ctx.temperature
        barred = ctx.early.barred_rows(logits)
        gradient = torch.empty_like(flat)
        for rows in _slices(flat):
            part = _scaled(flat, most, rows, ctx.temperature, ctx.early, barred).sub_(log_sum[rows]).exp_()
            part.mul_(-scale[rows].unsqueeze(-1))
            part.scatter_add_(-1, ids[rows].unsqueeze(-1), scale[rows].unsqueeze(-1))
            gradient[rows] = part
        return gradient.view_as(logits), None, None, None


def _scaled(
    flat: torch.Tensor,
    most: torch.Tensor,
    rows: slice,
    temperature: float,
    early: EarlyTokens,
    barred: torch.Tensor | None,
) -> torch.Tensor:
    """Return (logits − maximum) / temperature of some rows, float32, −inf at early tokens, in memory of its own."""
    part = (flat[rows].float() - most[rows].float()).div_(temperature)
    return early.bar_(part, None if barred is None else barred[rows])


def token_entropy(logits: torch.Tensor, *, temperature: float = 1.0, early: EarlyTokens = NONE_EARLY) -> torch.Tensor:
    """Return the entropy of softmax(logits / temperature) in nats, (B, T) float32, a slice of the tokens at a time.

    Args:
        logits: (B, T, V) of any floating dtype; −inf where a token cannot occur.
        temperature: above 0.
        early: tokens that have no probability at the first places.
    """
    flat, barred = logits.flatten(0, 1), early.barred_rows(logits)
    parts = []
    for rows in _slices(flat):
        scaled = flat[rows].float() / temperature
        log_p = (scaled if barred is None else early.bar_(scaled, barred[rows])).log_softmax(-1)
        # p log p is 0 where p is 0, even where log p is -inf.
        parts.append(-(log_p.exp() * log_p.masked_fill(log_p.isneginf(), 0.0)).sum(-1))
    return torch.cat(parts).view(logits.shape[:-1])


def logprobs_and_entropy(
    logits: torch.Tensor, token_ids: torch.Tensor, *, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `chosen_logprobs` and, without a gradient, `token_entropy`; arguments as there."""
    chosen = chosen_logprobs(logits, token_ids, temperature=temperature)
    with torch.no_grad():
        return chosen, token_entropy(logits, temperature=temperature)


def _slices(flat: torch.Tensor) -> list[slice]:
    """Return which rows of (rows, V) logits to take at a time."""
    size = max(1, SLICE_ELEMENTS // flat.shape[-1])
    return [slice(start, start + size) for start in range(0, max(1, len(flat)), size)]


def kl_estimate(logprobs: torch.Tensor, ref_logprobs: torch.Tensor, estimator: KLEstimator = "k1") -> torch.Tensor:
    """Estimate KL(π ‖ π_ref) per token from samples of π.

    With log r = log π_ref − log π (Schulman 2020, "Approximating KL divergence")::

        k1 = −log r            unbiased, high variance, may be negative
        k2 = (log r)² / 2      biased, low variance
        k3 = r − 1 − log r     unbiased, never negative

    Args:
        logprobs: any shape, of the sampled tokens under the policy that sampled them.
        ref_logprobs: the same shape, under the reference.
        estimator: "k1", "k2" or "k3".
    """
    check_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs)
    log_ratio = ref_logprobs - logprobs
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    if estimator == "k3":
        return torch.expm1(log_ratio) - log_ratio
    raise ConfigError(f"kl_estimator must be one of {', '.join(KL_ESTIMATORS)}, not {estimator!r}.")
