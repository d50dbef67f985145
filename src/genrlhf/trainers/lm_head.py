"""The LM head of TRL's SFT, which holds no logits, and one in its place for models that it does not know.

TRL multiplies what the layers return by the weight of the output embeddings. What a family has in between (the
transform of BERT and its kin, the prediction head of ModernBERT) it leaves out, and trains another distribution than
the model's.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

from genrlhf.errors import ConfigError
from genrlhf.models.families import without_router_logits
from genrlhf.models.structure import inner_model
from genrlhf.ops import chosen_logprobs, token_entropy

__all__ = ["drop_fused_head", "has_fused_head", "keep_whole_head", "label_logits"]


@dataclass
class _HeadOutput(ModelOutput):
    """What TRL's fused head returns, (rows, L − 1) where a value belongs to a label, 0 where there is none."""

    loss: torch.Tensor | None = None
    log_probs: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    is_top1: torch.Tensor | None = None
    mean_logits: torch.Tensor | None = None
    log_sum_sq_probs: torch.Tensor | None = None
    label_mask: torch.Tensor | None = None
    aux_loss: torch.Tensor | None = None


def has_fused_head(model: Any) -> bool:
    """Say whether TRL has given a model, in or out of a PEFT wrapper, its LM head."""
    forward = inner_model(model).forward
    return "fused_lm_head" in inspect.signature(forward, follow_wrapped=False).parameters


def drop_fused_head(model: Any) -> None:
    """Take the head that an earlier training has left on a model off: in a copy it would call the original's layers."""
    held = vars(inner_model(model))
    forward = held.get("forward")
    while forward is not None:
        if "fused_lm_head" in inspect.signature(forward, follow_wrapped=False).parameters:
            held.pop("forward")
            # What accelerate keeps beneath its autocast.
            held.pop("_original_forward", None)
            return
        forward = getattr(forward, "__wrapped__", None)


def keep_whole_head(model: Any, forward: Callable[..., Any], *, tried: bool = True) -> None:
    """Put a head that goes through the model's own forward pass in the place of TRL's, where that is not true to it.

    Args:
        model: in or out of a PEFT wrapper, where TRL may have put its head.
        forward: of the model inside, before TRL did.
        tried: find it out by trying both on ten tokens, as for a model with code of its own there is no telling; where
            its weights cannot be used yet, by what lies between layers and output matrix.
    """
    inner = inner_model(model)
    if not has_fused_head(model) or (_is_true(inner, forward) if tried else _has_nothing_between(inner)):
        return

    # TRL, and `generate`, read the parameters of the original.
    @functools.wraps(type(inner).forward)
    def whole_forward(
        self: Any, *args: Any, fused_lm_head: bool = False, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        if not fused_lm_head:
            return forward(*args, **({} if labels is None else {"labels": labels}), **kwargs)
        return _scored(self, forward, labels, kwargs)

    inner.forward = types.MethodType(whole_forward, inner)


def _has_nothing_between(model: Any) -> bool:
    """Say whether all of a model's parameters are those of its layers or of its output matrix."""
    parts = (model.base_model, model.get_output_embeddings())
    known = {id(parameter) for part in parts for parameter in part.parameters()}
    return parts[0] is not model and all(id(parameter) in known for parameter in model.parameters())


@torch.no_grad()
def _is_true(model: Any, forward: Callable[..., Any]) -> bool:
    """Say whether TRL's head finds the log-probabilities of the model's own forward pass, here and as it is now."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = ((torch.arange(1, 11, device=model.device) * vocabulary) // 12).unsqueeze(0)
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    was_training = model.training
    model.eval()
    try:
        logits = forward(**given, **without_router_logits(model)).logits
        right = chosen_logprobs(logits[:, :-1], ids[:, 1:])
        found = model(**given, labels=ids, fused_lm_head=True).log_probs
    except Exception:  # whatever a family's own code raises where TRL expects another
        return False
    finally:
        model.train(was_training)
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    return found.shape == right.shape and float((found - right).abs().mean()) < tolerance


def _scored(model: Any, forward: Any, labels: torch.Tensor | None, kwargs: dict[str, Any]) -> _HeadOutput:
    """Return what TRL's head would, of the logits of the model's own forward pass at the labels."""
    if labels is None:
        raise ConfigError(
            f"TRL's LM head does not know a {type(model).__name__}, and shifted labels of context parallelism are not "
            "supported without it; train on one device, or by data parallelism."
        )
    number = kwargs.pop("num_items_in_batch", None)
    kwargs = {name: value for name, value in kwargs.items() if name != "shift_labels"} | {"use_cache": False}
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        kwargs.setdefault("output_router_logits", True)
    shifted = labels[:, 1:]
    mask = shifted != -100
    output, logits = label_logits(forward, model, kwargs, mask)
    logits, wanted = logits.unsqueeze(0), shifted[mask].unsqueeze(0)
    logprobs = chosen_logprobs(logits, wanted).squeeze(0)

    def spread(values: torch.Tensor) -> torch.Tensor:
        # In the graph, too, where no label is there: all processes go backwards.
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    with torch.no_grad():
        entropy = token_entropy(logits).squeeze(0)
        top = (logits.argmax(-1) == wanted).squeeze(0)
        squares = (2 * logits.float().log_softmax(-1)).logsumexp(-1).squeeze(0)
        means = logits.float().mean(-1).squeeze(0)
    return _HeadOutput(
        loss=-logprobs.sum() / (mask.sum().clamp(min=1) if number is None else number),
        log_probs=spread(logprobs),
        entropy=spread(entropy),
        is_top1=spread(top),
        mean_logits=spread(means),
        log_sum_sq_probs=spread(squares),
        label_mask=mask,
        # Some configs have the setting, and their models no such loss.
        aux_loss=logprobs.new_zeros(()) if getattr(output, "aux_loss", None) is None else output.aux_loss,
    )


def label_logits(
    forward: nn.Module, model: Any, inputs: Mapping[str, Any], mask: torch.Tensor
) -> tuple[Any, torch.Tensor]:
    """Return a model's output and the logits at the places before the labels, (N, V): the LM head sees no others.

    Args:
        forward: the model, maybe wrapped.
        model: the same, unwrapped.
        inputs: of its forward pass, without labels.
        mask: (rows, L − 1) bool, True where the next token is a label.
    """

    def cut(_module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (args[0][:, :-1][mask].unsqueeze(0),)

    handle = inner_model(model).get_output_embeddings().register_forward_pre_hook(cut)
    try:
        output = forward(**inputs)
    finally:
        handle.remove()
    return output, output.logits.squeeze(0)
