"""Training only the last layers, without dropout."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from genrlhf.errors import ConfigError
from genrlhf.models.structure import decoder_layers, modules_above_layers

__all__ = ["disable_dropout", "freeze_layers"]


def freeze_layers(model: nn.Module, fraction: float) -> int:
    """Freeze everything but the last `1 − fraction` of the layers, and a score head where there is one.

    Kirk et al. 2024: "only the last 20 % of the layers are trained", that is `fraction=0.8`. Embeddings, LM head and
    final norm are frozen with them. At least one layer stays trainable.

    Args:
        model: any model with layers, with or without a score head, see `modules_above_layers`.
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
    for part in (*layers[frozen:], *modules_above_layers(model)):
        part.requires_grad_(True)
    return frozen


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout probability of a model to 0: of its layers, of layers that it drops whole, of its adapters.

    The noise on what routers read goes with them: it makes two passes differ as well.
    """
    for module in model.modules():
        if "dropout" in type(module).__name__.lower():
            # Not only nn.Dropout: it has siblings, and peft has a class of its own.
            _set_to_zero(module, "p")
        # Attention layers (OPT, Llama, …) have no dropout module but a number such as `attention_dropout`, adapters a
        # dictionary of numbers such as `rank_dropout`.
        for name in [name for name in vars(module) if "drop" in name or "jitter" in name]:
            # In PhiMoE that is a threshold, in use in eval mode too.
            if name != "router_jitter_noise":
                _set_to_zero(module, name)
        config = getattr(module, "config", None)
        for name in _read_from_config(type(module)) if config is not None else ():
            _set_to_zero(config, name)


def _set_to_zero(owner: Any, name: str) -> None:
    value = getattr(owner, name, None)
    if isinstance(value, float):
        setattr(owner, name, 0.0)
    elif isinstance(value, dict):
        value.update({key: 0.0 for key, number in value.items() if isinstance(number, float)})


def _read_from_config(module_class: type[nn.Module]) -> list[str]:
    """Return which dropout settings the forward pass of a layer (Falcon, GPT-J, …) takes from the model's config."""
    methods = [inspect.unwrap(method) for method in vars(module_class).values() if inspect.isfunction(method)]
    codes = [method.__code__ for method in methods if method.__name__ != "__init__"]
    named = {name for code in codes if "config" in code.co_names for name in code.co_names if "drop" in name}
    return sorted(named)
