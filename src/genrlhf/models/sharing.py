"""Two models that are one in their first layers: where they are, these lie in memory once.

Equal weights are half of a layer. The other half are the numbers that it reads from the config (rotary base, norm
epsilon, activation, scaling, window, …), buffers, and the classes of its parts. All of them are compared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from genrlhf.models.families import TRUNK_FAMILIES
from genrlhf.models.structure import decoder_layers, inner_model, modules_before_layers

__all__ = ["share_trunk"]

_OF_NO_CONSEQUENCE = frozenset(
    """
    _name_or_path architectures transformers_version dtype torch_dtype id2label label2id num_labels problem_type
    pad_token_id bos_token_id eos_token_id sep_token_id cls_token_id decoder_start_token_id use_cache is_decoder
    return_dict output_hidden_states output_attentions tie_word_embeddings final_logit_softcapping pretraining_tp
    num_hidden_layers n_layer num_layers max_window_layers initializer_range init_std quantization_config
    genrlhf_reward_gain genrlhf_reward_bias summary_type summary_use_proj summary_activation summary_proj_to_labels
    """.split()  # noqa: SIM905
)
"""Fields of a config that no layer of a trunk reads, or that layers keep a copy of, which is compared."""

_STATE = frozenset({"training", "padding_idx", "gradient_checkpointing", "compute_type_is_set"})
"""Plain attributes of modules that say what is being done with them, or nothing that matters here."""


def share_trunk(model: nn.Module, owner: nn.Module, depth: int) -> bool:
    """Make `model` share with `owner` the trunk of `depth` layers, if it is the same there, and frozen.

    Args:
        model: any model.
        owner: a model with a trunk.
        depth: its layers, 0 for none.

    Returns:
        Whether the trunks are equal, weights and buffers bit for bit, and so one in memory now.
    """
    if depth == 0 or not (_can_be(owner, depth) and _can_be(model, depth)) or not _configs_agree(model, owner, depth):
        return False
    ours, theirs = _trunk_parts(owner, depth), _trunk_parts(model, depth)
    if [name for name, _ in ours] != [name for name, _ in theirs]:
        return False
    pairs = [(mine, other) for (_, mine), (_, other) in zip(ours, theirs, strict=True)]
    if any(p.requires_grad for pair in pairs for part in pair for p in part._parameters.values() if p is not None):
        return False
    if not all(_alike(mine, other) for mine, other in pairs):
        return False
    for mine, other in pairs:
        other._parameters.update(mine._parameters)
    return True


def _can_be(model: Any, depth: int) -> bool:
    owner = inner_model(model)
    return owner.config.model_type in TRUNK_FAMILIES and len(decoder_layers(owner)) >= depth


def _configs_agree(model: Any, owner: Any, depth: int) -> bool:
    one, other = (_fields(inner_model(each).config.get_text_config(), depth) for each in (model, owner))
    names = {name for name in (*one, *other) if name not in _OF_NO_CONSEQUENCE and "drop" not in name}
    return all(one.get(name) == other.get(name) for name in names)


def _fields(config: Any, depth: int) -> dict[str, Any]:
    """Return the fields of a config; of lists with an entry for every layer those of the trunk."""
    count = config.num_hidden_layers
    return {
        name: value[:depth] if isinstance(value, list) and len(value) == count else value
        for name, value in config.to_dict().items()
    }


def _trunk_parts(model: Any, depth: int) -> list[tuple[str, nn.Module]]:
    """Return the modules of a trunk and their names: of embeddings, layers, and tables such as rotary frequencies."""
    owner = inner_model(model)
    layers = decoder_layers(owner)
    inside = {id(part) for part in layers.modules()}
    tables = [part for part in owner.base_model.modules() if part._buffers and id(part) not in inside]
    parts = [pair for part in (*modules_before_layers(owner), *layers[:depth]) for pair in part.named_modules()]
    return [*parts, *(("", table) for table in tables)]


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Say whether two modules, apart from those within them, do the same."""
    if type(one) is not type(other) or _settings(one) != _settings(other):
        return False
    for mine, others in ((one._parameters, other._parameters), (one._buffers, other._buffers)):
        if mine.keys() != others.keys() or not all(_equal(tensor, others[name]) for name, tensor in mine.items()):
            return False
    return True


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other.to(one.device))


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return the numbers, words and functions that a module computes with."""
    if "dropout" in type(module).__name__.lower():
        return {}
    named = {name: value for name, value in vars(module).items() if name[0] != "_" and name not in _STATE}
    return {
        name: value if isinstance(value, (bool, int, float, str)) else getattr(value, "__qualname__", None)
        for name, value in named.items()
        if "drop" not in name
    }
