"""Rows of which an objective makes tokens of its own: chains of several outputs, or other prompts for a teacher."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import TrainerCallback

from genrlhf.data.chat import template_options
from genrlhf.data.pairs import as_pair
from genrlhf.data.schema import check_text
from genrlhf.data.templates import default_system
from genrlhf.errors import DataError, excerpt
from genrlhf.trainers.sft_data import DemonstrationEncoder, Encoded

if TYPE_CHECKING:
    from genrlhf.trainers.objective import Objective

__all__ = ["VARIANTS", "Drawn", "DrawnByEpoch", "OwnEncoder", "OwnRow", "RowTokens", "own_columns"]

logger = logging.getLogger(__name__)

VARIANTS = ("variant_ids", "variant_labels")
"""Columns of a row that is encoded several times, of which one is drawn each epoch."""


class OwnRow(NamedTuple):
    """What an objective makes of a row.

    Attributes:
        texts: the row's tokens, and which of them are learnt; as many as are asked for, one for each epoch in turn.
        columns: for each of the objective's columns the row's value.
    """

    texts: Sequence[Encoded]
    columns: Mapping[str, Any] = {}


@dataclass(frozen=True)
class RowTokens:
    """Tokenises what a row holds, as samplers ask and demonstrations end.

    Attributes:
        encoder: of demonstrations.
        encode: makes tokens of a prompt and a completion, both text or both messages.
        where: the place of the row, which errors begin with.
        limit: tokens that a row may have; None for no limit.
        draws: how many encodings are asked for.
    """

    encoder: DemonstrationEncoder
    encode: Callable[[Any, Any], Encoded]
    where: str
    limit: int | None = None
    draws: int = 1

    def __call__(self, prompt: Any, completion: Any) -> Encoded:
        """Return the tokens of a prompt and a completion, of which the completion's are learnt, with what ends it."""
        return self.encode(prompt, completion)

    def whole(self, text: str) -> Encoded:
        """Return the tokens of a text, all of which are learnt."""
        return self.encoder.text(text, self.where)

    def chain(self, first: Encoded, *others: Encoded) -> Encoded:
        """Return texts one behind the other, without what a tokenizer puts in front of each."""
        begin = self.encoder.tokenizer.bos_token_id
        parts = [first, *(Encoded(part.ids[1:], part.mask[1:]) if part.ids[0] == begin else part for part in others)]
        return Encoded([token for part in parts for token in part.ids], [bit for part in parts for bit in part.mask])

    def tell_of_system(self, prompt: Any) -> None:
        """Say once where the chat template puts a system prompt of its own in front of a prompt of messages."""
        if isinstance(prompt, list) and prompt and prompt[0].get("role") != "system":
            _tell_of_system(default_system(self.encoder.tokenizer))

    def check_room(self, ids: Sequence[int], what: str) -> None:
        """Raise `DataError` for more tokens than a row may have: what would be cut off is what matters."""
        if self.limit is not None and len(ids) > self.limit:
            raise DataError(
                f"{self.where}: {what} has {len(ids)} tokens, and max_length={self.limit} has no room for it; shorten "
                "it, drop the row, or raise max_length."
            )


@functools.cache
def _tell_of_system(said: str | None) -> None:
    if said is not None:
        logger.warning(
            "The chat template puts a system prompt of its own, %s, before prompts without one. The student learns the "
            "context behind that, and the teacher has the context in its place: give prompts the system message that "
            "the student will have, or a template without one.",
            excerpt(said),
        )


def own_columns(objective: Objective, row: Mapping[str, Any], tokens: RowTokens) -> tuple[dict[str, Any], OwnRow]:
    """Return the columns that are trained on, and what the objective has made."""
    made = objective.encode(row, tokens)
    for text in made.texts:
        tokens.check_room(text.ids, f"what {objective.title} makes of it")
    lines = [[token if bit else -100 for token, bit in zip(text.ids, text.mask, strict=True)] for text in made.texts]
    ids = [list(text.ids) for text in made.texts]
    found: dict[str, Any] = {name: made.columns[name] for name in objective.columns}
    if objective.draws > 1:
        found |= dict(zip(VARIANTS, (ids, lines), strict=True))
    else:
        found |= {"input_ids": ids[0], "labels": lines[0]}
    return found, made


@dataclass(frozen=True)
class OwnEncoder(DemonstrationEncoder):
    """Makes of a row what an objective's `encode` says.

    Attributes:
        objective: that does.
        draws: encodings of a row, of which one is drawn each epoch.
    """

    objective: Objective = field(kw_only=True)
    draws: int = 1

    def wanted(self, columns: list[str]) -> list[str]:
        """Return the columns that rows of these columns are made of."""
        return [*self.objective.reads(columns), *(name for name in self.kept if name not in self.objective.columns)]

    def __call__(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the columns, the number of tokens, and what is to be said of them.

        Raises:
            DataError: where there is no text, or more of it than there is room for; it begins with `where`.
        """

        def encode(prompt: Any, completion: Any) -> Encoded:
            for name, value in (("prompt", prompt), ("completion", completion)):
                check_text(value, f"{where}, {name}")
            return self.tokens(*as_pair(prompt, completion, where=where), template_options(row, where), where)

        tokens = RowTokens(self, encode, where, self.max_length, self.draws)
        found, made = own_columns(self.objective, row, tokens)
        kept = {name: row[name] for name in self.kept if name not in self.objective.columns}
        return {**kept, **found, **self._notes(made.texts, any(any(text.mask[1:]) for text in made.texts))}


class Drawn:
    """A collator of rows that are encoded several times: each epoch has another one of them, in turn.

    Args:
        collator: of rows with `input_ids` and `labels`.

    Attributes:
        epoch: counted from 0.
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collator = collator
        self.epoch = 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch of the epoch's encodings."""
        return self.collator([self._line(row) for row in rows])

    def _line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        ids, labels = (row[name] for name in VARIANTS)
        place = self.epoch % len(ids)
        others = {name: value for name, value in row.items() if name not in VARIANTS}
        return {**others, "input_ids": ids[place], "labels": labels[place]}


class DrawnByEpoch(TrainerCallback):
    """Tells a collator which epoch it is, before the first batch is made.

    Args:
        drawn: the collator.
    """

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A run that goes on within an epoch has a fraction of it behind itself."""
        self.drawn.epoch = int((state.epoch or 0) + 1e-6)
