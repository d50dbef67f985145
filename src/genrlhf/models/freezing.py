"""Training only the last layers, and what there is to know of a model's inside for it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from genrlhf.errors import ConfigError, ModelError
from genrlhf.ops import position_ids

__all__ = ["decoder_layers", "disable_dropout", "freeze_layers", "inner_model", "position_arguments"]


def inner_model(model: Any) -> Any:
    """Return the transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def position_arguments(model: nn.Module, mask: torch.Tensor) -> dict[str, Any]:
    """Return `position_ids` for a batch with padding, where the model takes them.

    Args:
        model: any decoder.
        mask: (B, L) bool, False on padding.
    """
    accepted = inspect.signature(inner_model(model).forward).parameters
    return {"position_ids": position_ids(mask)} if "position_ids" in accepted else {}


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Return the layers of a decoder, first to last, whatever its family calls them.

    Raises:
        ModelError: where no list of `config.num_hidden_layers` layers is found.
    """
    config: Any = model.config
    count = config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(
        f"No list of {count} layers was found in the {type(model).__name__}; leave freeze_layers at 0 and freeze "
        "parameters yourself."
    )


def freeze_layers(model: nn.Module, fraction: float) -> int:
    """Freeze everything but the last `1 − fraction` of the layers, and a score head where there is one.

    Kirk et al. 2024: "only the last 20 % of the layers are trained", that is `fraction=0.8`. Embeddings, LM head and
    final norm are frozen with them. At least one layer stays trainable.

    Args:
        model: any decoder, with or without a score head.
        fraction: share of the layers, from the first, in [0, 1); 0 freezes nothing.

    Returns:
        The number of frozen layers.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"freeze_layers is the share of frozen layers, in [0, 1), not {fraction}.")
    if fraction == 0:
        return 0
    layers = decoder_layers(model)
    frozen = min(round(fraction * len(layers)), len(layers) - 1)
    model.requires_grad_(False)
    for layer in layers[frozen:]:
        layer.requires_grad_(True)
    score = getattr(model, "score", None)
    if isinstance(score, nn.Module):
        score.requires_grad_(True)
    return frozen


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout probability of a model to 0, also those of layers that it drops whole."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Attention layers (OPT, Llama, …) have no dropout module but a number such as `attention_dropout`.
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
