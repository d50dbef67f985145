"""Stages that interpolate the weights of two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from genrlhf.data.asking import asking_of
from genrlhf.errors import ModelError
from genrlhf.models import load_causal_lm, load_tokenizer

__all__ = ["check_vocabularies", "interpolate"]


def interpolate(folder: Path, start: str, end: str, alpha: float) -> dict[str, Any]:
    """Save (1 − α) θ_start + α θ_end in `folder`: robust fine-tuning by weights (Wortsman et al. 2022, WiSE-FT).

    Adapters are merged into their bases before. Other than floating-point buffers must be equal.

    Args:
        folder: where the model goes.
        start: θ at α = 0, a name or folder.
        end: θ at α = 1; its tokenizer and config are kept, and how it is asked.
        alpha: α.

    Raises:
        ModelError: where the two are no models of one kind and one vocabulary.
    """
    models = [load_causal_lm(model) for model in (start, end)]
    what = f"{start} and {end} cannot be interpolated"
    tokenizer = check_vocabularies(start, end)
    ours, theirs = (model.state_dict() for model in models)
    if alone := set(ours) ^ set(theirs):
        raise ModelError(f"{what}: only one of them has the weights {', '.join(sorted(alone)[:3])}.")
    for name, tensor in ours.items():
        if tensor.shape != theirs[name].shape:
            shapes = f"{tuple(tensor.shape)} and {tuple(theirs[name].shape)}"
            raise ModelError(f"{what}: the weights {name} have the shapes {shapes}.")
        if not tensor.is_floating_point() and not torch.equal(tensor, theirs[name]):
            raise ModelError(f"{what}: {name} is not the same in both, and no floating-point number.")
    between = {name: torch.lerp(ours[name], theirs[name], alpha) for name in ours if ours[name].is_floating_point()}
    models[1].load_state_dict(between, strict=False)
    models[1].save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if (asking := asking_of(end)) is not None:
        asking.save(folder)
    return {"alpha": alpha}


def check_vocabularies(start: str, end: str) -> Any:
    """Return the tokenizer of the model at the end, or raise `ModelError` where the other has another vocabulary."""
    tokenizers = [load_tokenizer(model) for model in (start, end)]
    if tokenizers[0].get_vocab() != tokenizers[1].get_vocab():
        sizes = " and ".join(str(len(each)) for each in tokenizers)
        raise ModelError(
            f"{start} and {end} cannot be interpolated: their vocabularies differ ({sizes} tokens), so that their rows "
            "mean other tokens."
        )
    return tokenizers[1]
