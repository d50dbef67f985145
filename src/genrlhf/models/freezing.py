"""Training only the last layers, and what there is to know of a model's inside for it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from genrlhf.errors import ConfigError, ModelError

__all__ = [
    "decoder_layers",
    "disable_dropout",
    "freeze_layers",
    "inner_model",
    "modules_above_layers",
]


def inner_model(model: Any) -> Any:
    """Return the transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Return the layers of a decoder, first to last, whatever its family calls them.

    Raises:
        ModelError: where no list of `config.num_hidden_layers` layers is found, or layers are no modules of their own
            (ALBERT repeats one, XLM and FlauBERT keep attentions, norms and MLPs apart), or lie in encoder and decoder.
    """
    config: Any = model.config
    count = config.get_text_config().num_hidden_layers
    advice = "leave freeze_layers at 0 and freeze parameters yourself."
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"The {type(model).__name__} has layers in its encoder and in its decoder; {advice}")
    if getattr(config, "num_hidden_groups", count) < count:
        raise ModelError(f"The {count} layers of the {type(model).__name__} share their weights; {advice}")
    for parent in model.modules():
        lists = [child for child in parent.children() if isinstance(child, nn.ModuleList) and len(child) == count]
        if len(lists) > 1 and all(_has_parameters(part) for part in lists[:2]):
            raise ModelError(f"The layers of the {type(model).__name__} are not one module each; {advice}")
        if lists:
            return lists[0]
    raise ModelError(f"No list of {count} layers was found in the {type(model).__name__}; {advice}")


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def modules_above_layers(model: nn.Module) -> list[nn.Module]:
    """Return what reads a score from the last layer of a classifier, whatever its family calls it; nothing for others.

    That is all that lies outside of the base model (`score`, `classifier`, `pre_classifier`, `head`, …), and the pooler
    that BERT and its kin have inside. A final norm belongs to the base model.

    Args:
        model: any model, in or out of a PEFT wrapper.
    """
    owner: Any = inner_model(model)
    if owner.get_output_embeddings() is not None or owner.base_model is owner:
        return []
    outside = [child for child in owner.children() if child is not owner.base_model]
    pooler = [child for name, child in owner.base_model.named_children() if "pool" in name]
    return [*pooler, *outside]


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
