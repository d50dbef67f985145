"""Scores of several completions of one prompt, which is computed once for all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import DynamicCache

from genrlhf.models.families import shares_prefix, without_router_logits
from genrlhf.models.scoring import score_batch
from genrlhf.models.structure import inner_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "SharedPrompt",
    "common_length",
    "gives_whole_scores",
    "plan_scoring",
    "score_behind_prompts",
    "shares_prompts",
]

WORTH_SHARING = 8
"""Tokens that several texts have to begin with alike: a pass of their own costs as much as a few tokens do."""

RESTS_AT_A_TIME = 32
"""Texts that go through the model behind their prompts together, those of like length."""

TOLERANCE = 1e-3
LOW_PRECISION_TOLERANCE = 0.1
"""Of the largest score: what rounding may differ by where the same text is scored in one pass and in two."""


@dataclass(frozen=True)
class SharedPrompt:
    """Texts that begin with the same tokens.

    Attributes:
        prefix: these tokens; none where the texts are scored as wholes.
        rests: what follows them in each text, at least one token.
        places: of the texts, for whoever asked for their scores.
    """

    prefix: list[int]
    rests: list[list[int]]
    places: list[int]

    @property
    def length(self) -> int:
        """Tokens of the longest text."""
        return len(self.prefix) + max(map(len, self.rests))


def plan_scoring(
    texts: Sequence[list[int]], prompts: Sequence[Hashable], *, batch_size: int, share: bool
) -> Iterator[list[SharedPrompt]]:
    """Yield batches of at most `batch_size` texts, those of like length together, the shortest first.

    In a batch either all texts have a prefix that they share with others, or none has one.

    Args:
        texts: token ids.
        prompts: of each text; only texts of one prompt share what they begin with.
        batch_size: texts at a time.
        share: compute once what texts of one prompt begin with.
    """
    together: dict[Hashable, list[int]] = {}
    for place, prompt in enumerate(prompts):
        together.setdefault(prompt if share else place, []).append(place)
    shared, alone = [], []
    for places in together.values():
        rows = [texts[place] for place in places]
        # The last token of every text is left to it: the score is read there.
        common = min(common_length(rows), min(map(len, rows)) - 1)
        if len(rows) > 1 and common >= WORTH_SHARING:
            for start in range(0, len(rows), batch_size):
                some = slice(start, start + batch_size)
                shared.append(SharedPrompt(rows[0][:common], [row[common:] for row in rows[some]], places[some]))
        else:
            alone += [SharedPrompt([], [row], [place]) for row, place in zip(rows, places, strict=True)]
    for groups in (shared, alone):
        batch: list[SharedPrompt] = []
        count = 0
        for group in sorted(groups, key=lambda group: group.length):
            if count + len(group.rests) > batch_size:
                yield batch
                batch, count = [], 0
            batch.append(group)
            count += len(group.rests)
        if batch:
            yield batch


def common_length(rows: Sequence[list[int]]) -> int:
    """Return how many tokens all rows begin with alike."""
    # What the first and the last in lexical order have in common, all between them have.
    first, last = min(rows), max(rows)
    return next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


@torch.no_grad()
def score_behind_prompts(model: PreTrainedModel, groups: Sequence[SharedPrompt], pad_token_id: int) -> torch.Tensor:
    """Return the score of every text of some groups in their order, (texts,) float32, without a gradient.

    Args:
        model: a sequence classifier with one label, which reads its score at the last token.
        groups: see `SharedPrompt`; all of them have a prefix, or none.
        pad_token_id: fills shorter texts.
    """
    rests = [rest for group in groups for rest in group.rests]
    if not groups[0].prefix:
        return score_batch(model, *_padded(rests, pad_token_id, model.device))
    prefixes, prefix_mask = _padded([group.prefix for group in groups], pad_token_id, model.device)
    known = DynamicCache(config=inner_model(model).config)
    options: dict[str, Any] = {"use_cache": True, **without_router_logits(model)}
    # Positions behind a shorter prefix are never looked at, so that they may be of padding.
    positions = torch.arange(prefixes.shape[1], device=model.device).expand_as(prefixes)
    inner_model(model).base_model(
        input_ids=prefixes,
        attention_mask=prefix_mask.long(),
        position_ids=positions,
        past_key_values=known,
        **options,
    )
    owners = torch.tensor([number for number, group in enumerate(groups) for _ in group.rests], device=model.device)
    order, scores = torch.tensor([len(rest) for rest in rests]).argsort(stable=True), []
    for chosen in order.split(RESTS_AT_A_TIME):
        ids, mask = _padded([rests[i] for i in chosen.tolist()], pad_token_id, model.device)
        chosen = chosen.to(model.device)
        cache, before = _selected(known, owners[chosen]), prefix_mask[owners[chosen]]
        output = model(
            input_ids=ids,
            attention_mask=torch.cat([before, mask], dim=1).long(),
            position_ids=before.sum(-1, keepdim=True) + torch.arange(ids.shape[1], device=model.device),
            past_key_values=cache,
            **options,
        )
        scores.append(output.logits.squeeze(-1).float())
    return torch.cat(scores)[order.argsort().to(model.device)]


def _selected(cache: DynamicCache, rows: torch.Tensor) -> DynamicCache:
    """Return a cache with some rows of another one, which stays as it is."""
    chosen = copy.copy(cache)
    chosen.layers = [copy.copy(layer) for layer in cache.layers]
    chosen.batch_select_indices(rows)
    return chosen


def _padded(rows: Sequence[list[int]], pad_token_id: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of ids as one right-padded tensor, (B, L) int64, and their mask, (B, L) bool."""
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(int(lengths.max())) < lengths.unsqueeze(-1)
    ids = torch.full(mask.shape, pad_token_id)
    ids[mask] = torch.tensor([token for row in rows for token in row])
    return ids.to(device), mask.to(device)


_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def shares_prompts(model: PreTrainedModel, pad_token_id: int) -> bool:
    """Say whether a classifier gives texts in two passes what it gives them in one, which is tried once.

    Only in families whose caches hold plain keys and values, and without a window that would slide out of the trial.
    """
    if not shares_prefix(model) or getattr(model.config, "sliding_window", None) is not None:
        return False
    if model not in _KNOWN:

        def scored(groups: Sequence[SharedPrompt]) -> torch.Tensor:
            return score_behind_prompts(model, groups, pad_token_id)

        _KNOWN[model] = gives_whole_scores(model, pad_token_id, scored)
    return _KNOWN[model]


@torch.no_grad()
def gives_whole_scores(
    model: PreTrainedModel, pad_token_id: int, scored: Callable[[Sequence[SharedPrompt]], torch.Tensor]
) -> bool:
    """Say whether two groups of two texts have the scores that the model gives whole texts.

    Args:
        model: a sequence classifier with one label, which reads its score at the last token.
        pad_token_id: fills shorter texts.
        scored: what returns the score of every text of some groups, (texts,).
    """
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = [(number * vocabulary) // 14 for number in range(1, 13)]
    ids = [(token + 1) % vocabulary if token == pad_token_id else token for token in ids]
    groups = [
        SharedPrompt(ids[:3], [ids[3:5], ids[7:11]], [0, 1]),
        SharedPrompt(ids[4:10], [ids[10:], ids[:1]], [2, 3]),
    ]
    whole = [SharedPrompt([], [group.prefix + rest], []) for group in groups for rest in group.rests]
    was_training = model.training
    model.eval()
    try:
        found, expected = scored(groups), score_behind_prompts(model, whole, pad_token_id)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        # A class of the family with a forward pass of its own.
        return False
    finally:
        model.train(was_training)
    low = model.dtype != torch.float32 or torch.is_autocast_enabled(model.device.type)
    tolerance = LOW_PRECISION_TOLERANCE if low else TOLERANCE
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())
