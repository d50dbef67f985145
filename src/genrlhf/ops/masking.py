"""Means, moments and positions over masked tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from genrlhf.ops._checks import check_same_shape
from genrlhf.ops.sums import widened

__all__ = ["forgetful_mask", "masked_mean", "masked_moments", "position_ids", "whiten"]


def _identity(x: torch.Tensor) -> torch.Tensor:
    return x


def forgetful_mask(attended: torch.Tensor, share: float) -> torch.Tensor:
    """Return which places each place sees, where past ones are hidden at random: (B, L, L) bool.

    A key is hidden with probability `share` from all places behind it, never from its own. Liu et al. 2022 (arXiv
    2210.13432), as used by Liu et al. 2023 (arXiv 2302.02676) against copying. The draws are torch's.

    Args:
        attended: (B, L) bool, False at padding.
        share: ρ, in [0, 1).
    """
    length = attended.shape[1]
    hidden = torch.rand(attended.shape, device=attended.device) < share
    causal = torch.ones(length, length, dtype=torch.bool, device=attended.device).tril()
    own = torch.eye(length, dtype=torch.bool, device=attended.device)
    return (causal & (attended & ~hidden).unsqueeze(1)) | own


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of `values` where `mask` is True, a scalar; 0 where nothing counts.

    Args:
        values: any shape, floating point.
        mask: the same shape, bool.
    """
    check_same_shape(values=values, mask=mask)
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


def masked_moments(
    values: torch.Tensor, mask: torch.Tensor, *, reduce: Callable[[torch.Tensor], torch.Tensor] = _identity
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the unbiased variance (ddof = 1) of `values` over `mask`, two scalars of `widest_dtype`.

    Args:
        values: any shape, floating point.
        mask: the same shape, bool.
        reduce: sums a tensor over the processes of a distributed run, so that the moments are those of the global
            batch; the identity on one process.
    """
    check_same_shape(values=values, mask=mask)
    selected = widened(values[mask])
    count, total = reduce(torch.stack([widened(mask.sum()), selected.sum()])).unbind()
    mean = total / count.clamp(min=1)
    squares = reduce((selected - mean).square().sum())
    return mean, squares / (count - 1).clamp(min=1)


def whiten(
    values: torch.Tensor,
    mask: torch.Tensor,
    *,
    shift_mean: bool = True,
    reduce: Callable[[torch.Tensor], torch.Tensor] = _identity,
    eps: float = 1e-8,
) -> torch.Tensor:
    """Scale `values` to unit variance over `mask` and, with `shift_mean`, to mean zero; zero where `mask` is False.

    The variance is the unbiased one of the global batch (see `masked_moments`).

    Args:
        values: any shape, floating point.
        mask: the same shape, bool.
        shift_mean: subtract the mean; otherwise it stays what it was.
        reduce: sums over processes, as in `masked_moments`.
        eps: added to the variance.
    """
    mean, variance = masked_moments(values, mask, reduce=reduce)
    whitened = (values - mean) * torch.rsqrt(variance + eps)
    if not shift_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, torch.zeros_like(whitened)).to(values.dtype)


def position_ids(attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the position of every token among the attended ones, (B, L) int64; 0 on padding.

    Left-padded batches need these in sampling and in the forward pass alike: without them a model with absolute
    positions sees the same prompt at other positions in every batch.

    Args:
        attention_mask: (B, L) bool.
    """
    positions = attention_mask.long().cumsum(-1) - 1
    return positions.clamp(min=0)
