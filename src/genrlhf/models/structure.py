"""What there is to know of a model's inside, whatever its family calls the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from genrlhf.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["context_length", "decoder_layers", "inner_model", "modules_above_layers", "modules_before_layers"]


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


def modules_before_layers(owner: nn.Module) -> list[nn.Module]:
    """Return what makes the first layer's input: embeddings of tokens and positions, and a projection of them."""
    names = ("wpe", "embed_positions", "project_in")
    rest = [part for name, part in owner.named_modules() if name.split(".")[-1] in names]
    return [owner.get_input_embeddings(), *rest]  # type: ignore[operator]


def context_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens fit the model's positions, None where its config sets no limit.

    RoBERTa and its relatives count positions from behind the padding index, which is 1 in all that are published: 514
    positions are 512 tokens.
    """
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    table = getattr(getattr(inner_model(model).base_model, "embeddings", None), "position_embeddings", None)
    before = getattr(table, "padding_idx", None)
    return int(length) - (0 if before is None else max(2, before + 1)) if length and length > 0 else None
