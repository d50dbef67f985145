"""Completions of a prompt side by side in one row behind it, so that it is computed once for all of them.

A mask lets every completion see its prompt and itself, and positions are counted as in a text of its own, so that the
results are those of whole texts up to rounding, with their gradients, whatever a family's caches are like.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from genrlhf.models.families import shares_prefix, without_router_logits
from genrlhf.models.last_positions import at_last_positions
from genrlhf.models.structure import inner_model
from genrlhf.models.texts import Text, head_logits
from genrlhf.models.trunk import Trunk, top_of
from genrlhf.ops import position_ids
from genrlhf.types import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PackedText", "attention_mask", "may_read_packed", "packed_logits"]

WORTH_PACKING = 0.85
"""The share of the work of whole texts that packed ones may be: the mask takes attention off its fastest path."""

TOLERANCE = 1e-3
LOW_PRECISION_TOLERANCE = 0.1
"""Of the largest logit: what rounding may differ by."""


TRIAL = (4, 5)
"""Tokens of prompts and completions of what is tried out."""


class PackedText(NamedTuple):
    """R rows of L tokens: a prompt that ends where that of every row does, and completions of it.

    Attributes:
        arguments: of the model's forward pass.
        source: (R, L) int64, which of the B · (P + T) tokens of the batch stand there.
        readout: (B, T) int64, which of the R · L places a token of a completion is predicted at.
        last: how many places of a row anything is read at, from its end.
    """

    arguments: dict[str, Any]
    source: torch.Tensor
    readout: torch.Tensor
    last: int

    @classmethod
    def of(cls, model: Any, tokens: Tokens, groups: Sequence[int], *, always: bool = False) -> PackedText | None:
        """Pack completions, or return None for models that cannot read them so, and where it is hardly less work.

        Args:
            model: a causal language model, in or out of a PEFT wrapper.
            tokens: of B completions.
            groups: of each the number of its prompt, which is the same for those that share one.
            always: even if it is more.
        """
        if not may_read_packed(model):
            return None
        lengths = _lengths(tokens.prompt_mask, tokens.completion_mask)
        if not lengths[0].all() or int(lengths.sum(0).max()) > _window(model):
            return None
        width = 6 * inner_model(model).config.get_text_config().hidden_size
        rows = _rows(lengths, groups, width)
        layout = _layout(lengths, rows, tokens.prompt_mask.shape[1], tokens.completion_mask.shape[1])
        length, whole = layout.owners.shape[1], lengths.sum(0)
        if not always and layout.owners.size * (width + length) > WORTH_PACKING * float(
            (whole * (width + whole)).sum()
        ):
            return None
        ids, mask = tokens.joined()
        source, owners, readout = (_sent(each, mask.device) for each in layout[:3])
        # Where the host does not know of padding, the mask does.
        owners = torch.where(mask.flatten()[source], owners, -1)
        positions = position_ids(mask).flatten()[source]
        arguments = {
            "input_ids": ids.flatten()[source],
            "attention_mask": attention_mask(owners, positions, inner_model(model)),
            "position_ids": positions,
            "use_cache": False,
            **without_router_logits(model),
        }
        return cls(arguments, source, readout, length - layout.prompt + 1)

    def after_prompt(self, hidden: torch.Tensor, count: int) -> torch.Tensor:
        """Return (B, count, d) of hidden states (R, L, d): of the last prompt token and what follows it."""
        return hidden.flatten(0, 1)[self.readout[:, :count]]

    def states(self, states: torch.Tensor) -> torch.Tensor:
        """Return (R, L, d) of the states of prompts and completions, (B, P + T, d)."""
        return states.flatten(0, 1)[self.source]


def packed_logits(
    model: PreTrainedModel, tokens: Tokens, groups: Sequence[int], trunk: Trunk | None = None
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return what `completion_logits` does, from prompts with all of their completions behind them.

    None for a model that does not give packed texts what it gives them alone, which is tried once, and where it is
    hardly less work.
    """
    text = PackedText.of(model, tokens, groups)
    if text is None:
        return None
    if model not in _KNOWN:
        _KNOWN[model] = _try_out(model)
    return _logits(model, text, tokens.completion_ids.shape[1], trunk) if _KNOWN[model] else None


def _logits(
    model: PreTrainedModel, text: PackedText, length: int, trunk: Trunk | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    if trunk is None:
        view = at_last_positions(model, text.last)
    else:
        view = top_of(model, trunk.depth, text.states(trunk.states), last=text.last)
    return head_logits(model, view, text, length)


def may_read_packed(model: Any) -> bool:
    """Say whether a model is of a kind that can be told what each place sees, and which position it has."""
    owner = inner_model(model)
    return (
        shares_prefix(model)
        and owner.config._attn_implementation in ("eager", "sdpa")
        and "position_ids" in inspect.signature(owner.forward).parameters
        and _window(model) >= sum(TRIAL)
    )


def _window(model: Any) -> float:
    """Return how many tokens a text may have before the first slides out of the window of any layer."""
    window = getattr(inner_model(model).config.get_text_config(), "sliding_window", None)
    return math.inf if window is None else int(window)


_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@torch.no_grad()
def _try_out(model: PreTrainedModel) -> bool:
    vocabulary = int(inner_model(model).config.get_text_config().vocab_size)
    before, behind = TRIAL
    length = before + behind
    ids = torch.arange(4 * length, device=model.device).view(4, length) * vocabulary // (4 * length)
    ids[1, :before], ids[3, :before] = ids[0, :before], ids[2, :before]
    mask = torch.ones(4, length, dtype=torch.bool, device=model.device)
    mask[:2, :2], mask[0, -2:] = False, False
    tokens = Tokens(ids[:, :before], mask[:, :before], ids[:, before:], mask[:, before:])
    was_training = model.training
    model.eval()
    try:
        text = PackedText.of(model, tokens, (0, 0, 1, 1), always=True)
        assert text is not None
        found = _logits(model, text, behind)[0]
        expected = head_logits(model, model, Text.of(model, tokens), behind)[0]
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        # A class of the family with a forward pass of its own.
        return False
    finally:
        model.train(was_training)
    low = model.dtype != torch.float32 or torch.is_autocast_enabled(model.device.type)
    expected = expected[mask[:, before:]].float()
    difference = (found[mask[:, before:]].float() - expected).abs().max()
    return bool(difference <= (LOW_PRECISION_TOLERANCE if low else TOLERANCE) * expected.abs().max())


def _lengths(prompt_mask: torch.Tensor, completion_mask: torch.Tensor) -> npt.NDArray[np.int64]:
    """Return the tokens of prompts and completions, (2, B), as far as the host knows without waiting for a GPU."""
    if prompt_mask.device.type == "cpu":
        return torch.stack([prompt_mask.sum(-1), completion_mask.sum(-1)]).numpy()
    return np.array([[prompt_mask.shape[1]], [completion_mask.shape[1]]]).repeat(len(prompt_mask), axis=1)


def _sent(array: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Return an array on a device, without waiting for what a GPU is doing."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _rows(lengths: npt.NDArray[np.int64], groups: Sequence[int], width: int) -> list[list[int]]:
    """Return which completions share a row: of one prompt, and no more than make it the least work.

    With k completions of T tokens behind a prompt of P, a completion costs (P / k + T) · width in products with
    weights, counted in what attention costs from one token to another, and (P + k T)² / k in attention. The best k
    follows.

    Args:
        lengths: see `_lengths`.
        groups: see `PackedText.of`.
        width: tokens that a token may attend to for what its products with the weights of a layer cost: about 6 times
            the width of a hidden state, as these weights are 12 times its square.
    """
    prompt, completion = lengths.mean(-1)
    most = max(1, int(math.sqrt(prompt * (prompt + width)) / max(1.0, completion)))
    together: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        together.setdefault(group, []).append(place)
    rows = []
    for places in together.values():
        parts = -(-len(places) // most)
        rows += [[int(place) for place in part] for part in np.array_split(places, parts)]
    return rows


class _Layout(NamedTuple):
    """Where tokens lie, see `PackedText`.

    Attributes:
        source: (R, L).
        owners: (R, L), 0 for a prompt, 1 and more for its completions, -1 for padding.
        readout: (B, T).
        prompt: tokens of the longest prompt.
    """

    source: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    readout: npt.NDArray[np.int64]
    prompt: int


def _layout(lengths: npt.NDArray[np.int64], rows: list[list[int]], before: int, behind: int) -> _Layout:
    """Return where tokens lie: prompts end in the same column, and completions follow without their last tokens.

    Nothing is predicted from these.

    Args:
        lengths: see `_lengths`.
        rows: see `_rows`.
        before: P, the columns of the batch's prompts.
        behind: T.
    """
    prompts, counts = lengths[0], np.maximum(lengths[1] - 1, 0)
    prompt = int(max(prompts[row[0]] for row in rows))
    length = prompt + int(max(counts[row].sum() for row in rows))
    source = np.zeros((len(rows), length), dtype=np.int64)
    owners = np.full_like(source, -1)
    readout = np.zeros((len(prompts), behind), dtype=np.int64)
    for number, row in enumerate(rows):
        size = prompts[row[0]]
        source[number, prompt - size : prompt] = row[0] * (before + behind) + np.arange(before - size, before)
        owners[number, prompt - size : prompt] = 0
        place = prompt
        for owner, completion in enumerate(row, start=1):
            end = place + counts[completion]
            source[number, place:end] = completion * (before + behind) + before + np.arange(end - place)
            owners[number, place:end] = owner
            readout[completion] = number * length + prompt - 1
            readout[completion, 1 : 1 + end - place] = number * length + np.arange(place, end)
            place = end
    return _Layout(source, owners, readout, prompt)


def attention_mask(owners: torch.Tensor, positions: torch.Tensor, model: Any) -> torch.Tensor:
    """Return which places each sees, (R, 1, L, L): bool, or for attention without a kernel of its own what is added.

    Args:
        owners: (R, L) int64, 0 for a prompt, 1 and more for its completions, -1 for padding.
        positions: (R, L) int64, where tokens stand in their prompt and completion.
        model: in or out of a classifier.
    """
    keys, queries = owners.unsqueeze(1), owners.unsqueeze(2)
    visible = ((keys == queries) | (keys == 0)) & (keys >= 0) & (positions.unsqueeze(1) <= positions.unsqueeze(2))
    # Padding sees itself: over nothing a softmax would be NaN.
    visible = (visible | torch.eye(owners.shape[1], dtype=torch.bool, device=owners.device)).unsqueeze(1)
    if model.config._attn_implementation == "sdpa":
        return visible
    return torch.zeros(visible.shape, dtype=model.dtype, device=owners.device).masked_fill(
        ~visible, torch.finfo(model.dtype).min
    )
