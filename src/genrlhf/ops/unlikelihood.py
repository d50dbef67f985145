"""Tokens that repeat what stood before them, and what it costs to make them likely."""

from __future__ import annotations

import torch

from genrlhf.errors import ShapeError
from genrlhf.ops._checks import check_same_shape

__all__ = ["first_occurrences", "repeated_ngrams", "repetition_rate", "unlikelihood"]

_NOWHERE = -1
LARGEST = 1 - 1e-6
"""A probability is held below this: log(1 − 1) has no value."""


def first_occurrences(ids: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return where a token stands for the first time in its row, (B, L) bool, among the places that are `counted`.

    Args:
        ids: (B, L) int64.
        counted: (B, L) bool.
    """
    check_same_shape(ids=ids, counted=counted)
    values, order = ids.masked_fill(~counted, _NOWHERE).sort(dim=1, stable=True)
    first = torch.ones_like(counted)
    first[:, 1:] = values[:, 1:] != values[:, :-1]
    return torch.zeros_like(counted).scatter(1, order, first) & counted


def unlikelihood(logits: torch.Tensor, candidates: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return −Σ_{c} log(1 − p(c)) of every position, (N,) float32.

    Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training" (arXiv 1908.04319), equation 4. The
    gradient of a candidate's in the logits is p_c / (1 − p_c) · (e_c − p).

    Args:
        logits: (N, V).
        candidates: tokens that are not wanted, (N, C) int64.
        counted: which of them are, (N, C) bool.

    Raises:
        ShapeError: for shapes that do not go together.

    Example:
        >>> import torch
        >>> unlikelihood(torch.zeros(1, 2), torch.tensor([[1]]), torch.tensor([[True]]))
        tensor([0.6931])
    """
    check_same_shape(candidates=candidates, counted=counted)
    if logits.ndim != 2 or len(logits) != len(candidates):
        raise ShapeError(f"logits and candidates have shapes {tuple(logits.shape)} and {tuple(candidates.shape)}.")
    p = logits.float().log_softmax(-1).gather(-1, candidates).exp().clamp(max=LARGEST)
    return -torch.where(counted, torch.log1p(-p), 0.0).sum(-1)


def repeated_ngrams(ids: torch.Tensor, n: int, mask: torch.Tensor) -> torch.Tensor:
    """Return which tokens lie in an n-gram that stood in their row before, (B, T) bool; a first one is not meant.

    Args:
        ids: (B, T) int64.
        n: tokens of an n-gram.
        mask: (B, T) bool, True for the tokens of a row, from its first on.

    Example:
        >>> import torch
        >>> repeated_ngrams(torch.tensor([[7, 8, 5, 7, 8]]), 2, torch.ones(1, 5, dtype=torch.bool))
        tensor([[False, False, False,  True,  True]])
    """
    again = _seen_before(ids, n, mask)
    found = torch.zeros_like(mask)
    for place in range(n):
        found[:, place : place + again.shape[1]] |= again
    return found


def repetition_rate(ids: torch.Tensor, n: int, mask: torch.Tensor) -> torch.Tensor:
    """Return seq-rep-n of every row, (B,) float32: 1 − distinct n-grams / n-grams (Welleck et al. 2020, section 6.1).

    Args:
        ids: (B, T) int64.
        n: tokens of an n-gram.
        mask: (B, T) bool, True for the tokens of a row, from its first on; a row of fewer than n repeats nothing.
    """
    again = _seen_before(ids, n, mask)
    total = (mask.sum(1) - n + 1).clamp(min=1)
    return again.sum(1).float() / total


def _seen_before(ids: torch.Tensor, n: int, mask: torch.Tensor) -> torch.Tensor:
    """Return which n-grams, by their first place, stand in their row before, (B, T − n + 1) bool."""
    check_same_shape(ids=ids, mask=mask)
    if ids.shape[1] < n:
        return mask[:, :0]
    grams = ids.unfold(1, n, 1)
    there = mask[:, n - 1 :]
    same = (grams.unsqueeze(2) == grams.unsqueeze(1)).all(-1)
    return (same.tril(-1) & there.unsqueeze(1)).any(-1) & there
