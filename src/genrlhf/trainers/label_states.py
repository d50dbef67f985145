"""TRL's LM head on a processor: nothing is computed that no label is predicted from.

There TRL has every position go through the head, and all rows be as long as the longest. Here only the positions before
labels do, rows of like length go through the layers together, and the last layer leaves out what lies before the first
label but for its keys and values. Loss, gradients and figures are the same up to rounding.
"""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

import torch

from genrlhf.models.families import forward_arguments, reads_left_padding
from genrlhf.models.last_positions import at_last_positions
from genrlhf.models.structure import inner_model
from genrlhf.trainers.shared import device_for_trials

__all__ = ["leave_out_the_rest"]

ROWS_OF_LIKE_LENGTH = 16
"""Rows that go through the layers at a time."""

_READ = {"input_ids", "attention_mask", "use_cache"}


def leave_out_the_rest(model: Any, args: Any) -> None:
    """Have TRL's head of a model, in or out of a PEFT wrapper, compute on a processor what its labels need.

    Not where something is drawn at random in a pass, or a layer's weights are gathered for it.

    Args:
        model: where TRL may have put its head.
        args: the settings that it is trained with.
    """
    noise = not args.disable_dropout or args.neftune_noise_alpha is not None
    if noise or args.torch_compile or device_for_trials(args) is None:
        return
    inner = inner_model(model)
    fused = vars(inner).get("forward")
    names = () if fused is None else inspect.signature(fused, follow_wrapped=False).parameters
    if not reads_left_padding(model) or not {"fused_lm_head", "labels", "shift_labels"} <= set(names):
        return

    # TRL, and `generate`, read the parameters of the original.
    @functools.wraps(type(inner).forward)
    def forward(
        self: Any, *args: Any, fused_lm_head: bool = False, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        mask = kwargs.get("attention_mask")
        balanced = getattr(self.config.get_text_config(), "output_router_logits", False)
        known = not args and labels is not None and set(kwargs) <= _READ and not balanced
        if fused_lm_head and known and mask is not None and mask.dim() == 2 and mask.device.type == "cpu":
            return _scored(self, fused, kwargs["input_ids"], mask.bool(), labels)
        given = {} if labels is None else {"labels": labels}
        return fused(*args, **({"fused_lm_head": True} if fused_lm_head else {}), **given, **kwargs)

    inner.forward = types.MethodType(forward, inner)


def _scored(model: Any, fused: Any, ids: torch.Tensor, mask: torch.Tensor, labels: Any) -> Any:
    """Return what TRL's head does, from the states that labels are predicted from and no others."""
    following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
    parts = []
    for rows in mask.sum(-1).argsort(stable=True).split(ROWS_OF_LIKE_LENGTH):
        # With all padding on the left, as wide as the longest text.
        columns = mask[rows].int().argsort(dim=-1, stable=True)[:, -max(1, int(mask[rows].sum(-1).max())) :]
        ids_here, mask_here, wanted = (each[rows].gather(1, columns) for each in (ids, mask, following))
        kept = wanted != -100
        width = kept.shape[1]
        first = int(kept.any(0).int().argmax()) if kept.any() else width - 1
        view = at_last_positions(model, width - first)
        output = view.base_model(**forward_arguments(view.base_model, ids_here, mask_here))
        places = rows.unsqueeze(1) * labels.shape[1] + columns
        parts.append((output.last_hidden_state[kept], wanted[kept], places[kept]))
    states, wanted, places = (torch.cat(each) for each in zip(*parts, strict=True))

    def backbone(**_: Any) -> Any:
        return types.SimpleNamespace(last_hidden_state=states.unsqueeze(0))

    # All that TRL's head asks of a model.
    known = types.SimpleNamespace(base_model=backbone, get_output_embeddings=model.get_output_embeddings)
    found = fused.__func__(known, fused_lm_head=True, shift_labels=wanted.unsqueeze(0))
    for name, values in list(found.items()):
        if values.dim() == 2:
            # In the graph, too, where no label is there: all processes go backwards.
            spread = values.new_zeros(labels.numel()).index_copy(0, places, values.squeeze(0))
            found[name] = spread.view_as(labels)[:, :-1]
    return found
