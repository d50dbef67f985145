"""Which models cannot be trained on what they draw, or on texts: their probabilities would mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from genrlhf.errors import ModelError
from genrlhf.models.families import RANDOM_FAMILIES, family_of, shares_prefix
from genrlhf.models.quantisation import is_quantised
from genrlhf.models.structure import inner_model
from genrlhf.sampling.habits import habits_of, reads_ahead

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["refuse_reading_ahead", "refuse_unless_comparable"]


def refuse_unless_comparable(model: PreTrainedModel, *, own_draws: bool, device: torch.device | str | None) -> None:
    """Raise `ModelError` where no ratio of probabilities would mean anything in a model that is trained on its draws.

    Args:
        model: the policy, maybe on another device than it is going to run on.
        own_draws: what is trained on is drawn by the model's own `generate`, or may be; False where a sampler that is
            true to the forward pass draws.
        device: where the model is going to run. What is tried out is tried there, as some layers have no other code;
            None where it would not fit there whole, and nothing is tried.
    """
    family = family_of(model)
    if family in RANDOM_FAMILIES:
        raise _untrainable(family, "draw at random within their forward pass while they train")
    if shares_prefix(model) or device is None:
        return
    with _on(model, device):
        # A pass that read ahead would not find what `generate` finds step by step.
        if own_draws and habits_of(model).as_forward:
            return
        refuse_reading_ahead(model, device=device)
    if own_draws:
        raise _untrainable(
            family,
            "find other probabilities in `generate` than in their forward pass",
            ", or a sampler that draws what the forward pass says",
        )


def _untrainable(family: str, why: str, remedy: str = "") -> ModelError:
    return ModelError(
        f"Models of type {family!r} {why}, so they cannot be trained on what they draw: no ratio of probabilities "
        f"would mean anything. Give a decoder-only model of another family{remedy}."
    )


def refuse_reading_ahead(
    model: PreTrainedModel, *, device: torch.device | str | None, label: str = "The model"
) -> None:
    """Raise `ModelError` for a model whose forward pass sees the token that it is asked for; `device` as above."""
    if shares_prefix(model) or device is None:
        return
    with _on(model, device):
        ahead = reads_ahead(model)
    if ahead:
        raise ModelError(
            f"{label} is of type {family_of(model)!r}, whose forward pass reads the tokens that it is to predict, so "
            "that it has no probability of a text. Give a decoder-only model of another family (BERT and its kin read "
            "left to right with is_decoder=True in their config)."
        )


@contextmanager
def _on(model: PreTrainedModel, device: torch.device | str) -> Iterator[None]:
    """Have a model on a device for a while; where it has been placed already, it stays."""
    before = model.device
    placed = is_quantised(model) or getattr(inner_model(model), "hf_device_map", None)
    if placed or before == torch.device(device):
        yield
        return
    model.to(device)
    try:
        yield
    finally:
        model.to(before)
