"""Scores of pairs of texts that begin alike: both in one row behind their prompt, with a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from genrlhf.models.families import without_router_logits
from genrlhf.models.last_positions import at_last_positions
from genrlhf.models.packing import attention_mask, may_read_packed
from genrlhf.models.shared_prompts import WORTH_SHARING, SharedPrompt, common_length, gives_whole_scores
from genrlhf.models.structure import inner_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["pair_scores", "pairs_behind_prompts", "reads_pairs"]

PAIRS_OF_LIKE_LENGTH = 16
"""Pairs that go through the model at a time."""


def pairs_behind_prompts(input_ids: torch.Tensor, mask: torch.Tensor) -> list[SharedPrompt] | None:
    """Return the pairs of a batch behind what both of their texts begin with; None where a pair begins otherwise.

    Args:
        input_ids: (2 B, L) int64, right-padded, first the one text of all pairs, then the other.
        mask: (2 B, L) bool.
    """
    rows = [ids[:length] for ids, length in zip(input_ids.tolist(), mask.sum(-1).tolist(), strict=True)]
    half, groups = len(rows) // 2, []
    for place in range(half):
        pair = [rows[place], rows[half + place]]
        common = min(common_length(pair), len(pair[0]) - 1, len(pair[1]) - 1)
        if common < WORTH_SHARING:
            return None
        groups.append(SharedPrompt(pair[0][:common], [row[common:] for row in pair], [place, half + place]))
    return groups


def pair_scores(model: PreTrainedModel, groups: Sequence[SharedPrompt], pad_token_id: int) -> torch.Tensor:
    """Return the scores of both texts of every pair in their order, (2 B,) float32, with a gradient.

    Pairs of like length go through the model together. The last layer goes on from its keys and values where scores
    are read, and nowhere else.

    Args:
        model: a classifier for which `reads_pairs` is true.
        groups: B pairs.
        pad_token_id: fills shorter rows.
    """
    rows = [_Row.of(group) for group in groups]
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
    inner, scores = inner_model(model), []
    view = inner_model(at_last_positions(model, 2))
    for start in range(0, len(order), PAIRS_OF_LIKE_LENGTH):
        some = [rows[place] for place in order[start : start + PAIRS_OF_LIKE_LENGTH]]
        width = len(some[-1].ids)
        ids, owners, positions = (
            torch.tensor([[fill] * (width - len(row[kind])) + row[kind] for row in some], device=inner.device)
            for kind, fill in enumerate((pad_token_id, -1, 0))
        )
        output = view.base_model(
            input_ids=ids,
            attention_mask=attention_mask(owners, positions, inner),
            position_ids=positions,
            use_cache=False,
            **without_router_logits(view.base_model),
        )
        scores.append(inner.score(output.last_hidden_state[:, -2:]).squeeze(-1).float())
    return torch.cat(scores)[torch.tensor(order, device=inner.device).argsort()].flatten()


class _Row(NamedTuple):
    """The tokens of a pair: its prompt, both texts without their last tokens, and these.

    Attributes:
        ids: of L tokens.
        owners: the text that each belongs to, 1 or 2; 0 for the prompt.
        positions: in that text.
    """

    ids: list[int]
    owners: list[int]
    positions: list[int]

    @classmethod
    def of(cls, group: SharedPrompt) -> _Row:
        before = len(group.prefix)
        row = cls([*group.prefix], [0] * before, [*range(before)])
        for part in (slice(None, -1), slice(-1, None)):
            for owner, rest in enumerate(group.rests, start=1):
                row.ids.extend(rest[part])
                row.owners.extend([owner] * len(rest[part]))
                row.positions.extend(range(before, before + len(rest))[part])
        return row


_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def reads_pairs(model: PreTrainedModel, pad_token_id: int) -> bool:
    """Say whether a classifier gives pairs in one row what it gives their texts alone, which is tried once."""
    if not may_read_packed(model) or getattr(model.config, "sliding_window", None) is not None:
        return False
    if model not in _KNOWN:

        def scored(groups: Sequence[SharedPrompt]) -> Any:
            return pair_scores(model, groups, pad_token_id)

        _KNOWN[model] = gives_whole_scores(model, pad_token_id, scored)
    return _KNOWN[model]
