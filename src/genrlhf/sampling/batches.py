"""Which prompts are decoded together, and how what came of them is put together again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from genrlhf.types import Generation, TrunkStates

__all__ = ["Batch", "join_generations", "plan_batches"]


@dataclass(frozen=True)
class Batch:
    """Prompts that are decoded together, with some of the samples of each.

    Attributes:
        places: of the prompts, in the order of decoding.
        first: the first of their samples.
        last: the one behind the last.
        width: tokens of the longest prompt.
        shared: a prompt is stored once for its samples, not once for each.
    """

    places: tuple[int, ...]
    first: int
    last: int
    width: int
    shared: bool = True

    @property
    def sequences(self) -> int:
        """How many sequences are decoded."""
        return len(self.places) * (self.last - self.first)

    def tokens(self, max_new_tokens: int) -> int:
        """How many tokens have keys and values in memory: every prompt as often as it is stored, and every response."""
        prompts = len(self.places) if self.shared else self.sequences
        return prompts * self.width + self.sequences * max_new_tokens

    def halves(self) -> tuple[Batch, Batch] | None:
        """Return the two halves of a batch, by prompts or else by samples; None for a single sequence."""
        if len(self.places) > 1:
            middle = len(self.places) // 2
            return replace(self, places=self.places[:middle]), replace(self, places=self.places[middle:])
        if self.last - self.first > 1:
            cut = (self.first + self.last) // 2
            return replace(self, last=cut), replace(self, first=cut)
        return None


def plan_batches(
    lengths: Sequence[int],
    n: int,
    max_new_tokens: int,
    *,
    max_sequences: int,
    max_tokens: int,
    one_length: bool = False,
    shared: bool = True,
) -> list[Batch]:
    """Group prompts of like length into batches that keep to both limits, the longest first.

    The samples of a prompt stay together unless they alone exceed a limit. What has no part that keeps to the limits is
    decoded one sequence at a time.

    Args:
        lengths: tokens of every prompt.
        n: samples a prompt.
        max_new_tokens: tokens a response may have.
        max_sequences: sequences of a batch.
        max_tokens: tokens of a batch, see `Batch.tokens`.
        one_length: only prompts of the same length go together, so that none is padded.
        shared: a prompt is stored once for its samples, not once for each.
    """
    batches: list[Batch] = []
    current: list[int] = []
    width = 0

    def close() -> None:
        if current:
            batches.append(Batch(tuple(current), 0, n, width, shared))
            current.clear()

    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[place]
        fit = (max_tokens - length) // max_new_tokens if shared else max_tokens // (length + max_new_tokens)
        samples = min(n, max_sequences, max(1, fit))
        if samples < n:
            close()
            batches += [
                Batch((place,), first, min(first + samples, n), length, shared) for first in range(0, n, samples)
            ]
            continue
        wider = Batch((*current, place), 0, n, width if current else length, shared)
        shorter = one_length and length < width
        if shorter or wider.sequences > max_sequences or wider.tokens(max_new_tokens) > max_tokens:
            close()
        if not current:
            width = length
        current.append(place)
    close()
    return batches


def join_generations(batches: Sequence[Batch], parts: Sequence[Generation], n: int, pad_token_id: int) -> Generation:
    """Put what came of batches together in the order of the prompts, padded to common widths.

    Args:
        batches: with all `n` samples of every prompt among them.
        parts: what came of each, with the same fields.
        n: samples a prompt.
        pad_token_id: fills ids.
    """
    rows = [place * n + k for batch in batches for place in batch.places for k in range(batch.first, batch.last)]
    order = torch.tensor(rows, device=parts[0].ended.device).argsort()

    def joined(name: str, fill: int = 0) -> torch.Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        if any(tensor is None for tensor in tensors):
            return None
        return _cat(tensors, left=name.startswith("prompt"), fill=fill)[order]

    fields = {name: joined(name) for name in ("prompt_mask", "completion_mask", "ended")}
    fields |= {name: joined(name, pad_token_id) for name in ("prompt_ids", "completion_ids")}
    fields |= {name: joined(name) for name in ("logprobs", "entropy", "last_hidden", "unmasked_logprobs")}
    fields["allowed"] = joined("allowed", 255)
    return Generation(**fields, trunk=_join_trunks(batches, parts, order))  # type: ignore[arg-type]


def _join_trunks(batches: Sequence[Batch], parts: Sequence[Generation], order: torch.Tensor) -> TrunkStates | None:
    trunks = [part.trunk for part in parts if part.trunk is not None]
    if len(trunks) < len(parts):
        return None
    places = [place for batch in batches for place in batch.places]
    first_seen = {place: number for number, place in reversed(list(enumerate(places)))}
    prompts = torch.tensor([first_seen[place] for place in sorted(first_seen)], device=order.device)
    # A batch that closed none of its completions has no such states; `closed` says that what stands there is nothing.
    known = [trunk.closing for trunk in trunks if trunk.closing is not None]
    closings = [trunk.completion[:, 0] if trunk.closing is None else trunk.closing for trunk in trunks if known]
    return TrunkStates(
        prompt=_cat([trunk.prompt for trunk in trunks], left=True)[prompts],
        completion=_cat([trunk.completion for trunk in trunks], left=False)[order],
        closing=torch.cat(closings)[order] if closings else None,
        closed=torch.cat([trunk.closed for trunk in trunks])[order],
    )


def _cat(tensors: Sequence[torch.Tensor], *, left: bool, fill: int = 0) -> torch.Tensor:
    if tensors[0].dim() == 1:
        return torch.cat(list(tensors))
    width = max(tensor.shape[1] for tensor in tensors)
    padded = []
    for tensor in tensors:
        filler = tensor.new_full((len(tensor), width - tensor.shape[1], *tensor.shape[2:]), fill)
        padded.append(torch.cat([filler, tensor] if left else [tensor, filler], dim=1))
    return torch.cat(padded)
