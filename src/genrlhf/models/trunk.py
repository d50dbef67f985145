"""The frozen first layers of a model, computed once for all models that share them.

A model whose first k layers and embeddings are frozen is a *trunk*, which ends where layer k begins, and a *top*. What
the trunk makes of a text does not change while the top is trained, and is the same for every model with the same trunk:
policy, reference, value model, reward model.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from genrlhf.errors import ModelError
from genrlhf.models.families import TRUNK_FAMILIES, forward_arguments
from genrlhf.models.last_positions import LastPositions, can_limit
from genrlhf.models.structure import decoder_layers, inner_model, modules_before_layers
from genrlhf.models.views import shallow_copy, with_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Trunk", "top_of", "trunk_depth", "trunk_states"]


class Trunk(NamedTuple):
    """What the first layers of a model make of prompts and completions.

    Attributes:
        depth: the number of those layers.
        states: (B, P + T, d).
    """

    depth: int
    states: torch.Tensor


def trunk_depth(model: PreTrainedModel) -> int:
    """Return how many layers, from the first, are frozen together with all that comes before them; 0 for no trunk.

    A model of a family that is not in `TRUNK_FAMILIES` has no trunk; where its first layers are frozen, a warning says
    so.
    """
    owner = inner_model(model)
    try:
        layers = list(decoder_layers(owner))
    except ModelError:
        # Of a family that has none to be found, and so no trunk.
        return 0
    trainable = [any(p.requires_grad for p in layer.parameters()) for layer in layers]
    depth = trainable.index(True) if True in trainable else 0
    if depth == 0:
        return 0
    if owner.config.model_type not in TRUNK_FAMILIES:
        warnings.warn(
            f"The first {depth} layers are frozen, but models of type {owner.config.model_type!r} are not known to be "
            "separable there, so they are computed anew in every pass; docs/families.md lists those that are.",
            stacklevel=2,
        )
        return 0
    before = [p for part in modules_before_layers(owner) for p in part.parameters()]
    return 0 if any(p.requires_grad for p in before) else depth


def top_of(model: Any, depth: int, states: torch.Tensor, last: int) -> Any:
    """Return a view of `model` without its first `depth` layers, which reads `states` where they would end.

    The view shares every parameter and submodule with `model`, takes the same inputs and returns the same outputs at
    the last `last` positions; those before are undefined. It is good for one forward pass over the tokens that `states`
    belong to.

    Args:
        model: of a family in `TRUNK_FAMILIES`, with any head, in or out of a PEFT wrapper.
        depth: k.
        states: (B, L, d), the hidden states that enter layer k.
        last: how many positions' outputs are wanted.
    """
    owner = inner_model(model)
    layers = decoder_layers(owner)
    kept = list(layers)[depth:]
    if can_limit(kept[-1], owner.config):
        kept[-1] = LastPositions(kept[-1], last)

    def replace(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})

    first = shallow_copy(kept[0])
    first._forward_pre_hooks = type(first._forward_pre_hooks)(first._forward_pre_hooks)
    first._forward_pre_hooks_with_kwargs = type(first._forward_pre_hooks_with_kwargs)(
        first._forward_pre_hooks_with_kwargs
    )
    first.register_forward_pre_hook(replace, with_kwargs=True)
    return with_layers(owner, layers, nn.ModuleList([first, *kept[1:]]), slice(depth, None))


class _Stop(Exception):  # noqa: N818
    """Ends a forward pass where the trunk ends."""


@torch.no_grad()
def trunk_states(model: Any, depth: int, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the hidden states that enter layer `depth`, (B, L, d).

    Args:
        model: of a family in `TRUNK_FAMILIES`.
        depth: k.
        input_ids: (B, L) int64.
        mask: (B, L) bool, False on padding, left or right.
    """
    found: list[torch.Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        raise _Stop

    owner = inner_model(model)
    handle = decoder_layers(owner)[depth].register_forward_pre_hook(keep, with_kwargs=True)
    try:
        owner.base_model(**forward_arguments(owner.base_model, input_ids, mask))
    except _Stop:
        return found[0]
    finally:
        handle.remove()
    raise AssertionError("the forward pass did not reach the layer")
