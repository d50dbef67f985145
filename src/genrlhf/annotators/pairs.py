"""Pairs of outputs to be annotated: among the samples of a prompt, of two models, or of preferences that are there."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, TypeAlias

from genrlhf.annotators.draws import Shown
from genrlhf.data.chat import TEMPLATE_COLUMNS
from genrlhf.data.pairs import Text, as_preference
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.metrics.preference.validating.matching import said

__all__ = ["OutputPair", "Rows", "pairs_from_models", "pairs_from_samples", "pairs_to_relabel"]

Rows: TypeAlias = "Iterable[Mapping[str, Any] | tuple[str, Mapping[str, Any]]]"
"""Rows, or each with its place ("line 3")."""

CHOSEN_REJECTED = ("chosen", "rejected")
OWN_COLUMNS = ("annotator", "score", "at_random", "raw_answer", "annotations")
"""What an annotation writes beside prompt, chosen and rejected."""
_KEPT_OF_OUTPUTS = ("dataset", *TEMPLATE_COLUMNS)


@dataclass(frozen=True)
class OutputPair:
    """Two outputs for one prompt.

    Attributes:
        prompt: text, or a conversation.
        first: one output, text or messages.
        second: the other.
        names: where each is from, such as the models that wrote them; "chosen" and "rejected" of preferences that are
            there already.
        columns: what else the row of the preference is to have.

    Raises:
        DataError: an output is blank, or both say the same.
    """

    prompt: Text
    first: Text
    second: Text
    names: tuple[str, str] = ("first", "second")
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        prompt, first, second = self.shown
        for name, text in zip(self.names, (first, second), strict=True):
            if not text.strip():
                raise DataError(f"The output {name!r} of prompt {excerpt(prompt)} is blank; drop the pair.")
        if first == second:
            raise DataError(
                f"Both outputs of prompt {excerpt(prompt)} say {excerpt(first)}; there is nothing to prefer, drop the "
                "pair."
            )

    @property
    def shown(self) -> Shown:
        """The texts that an annotator is shown."""
        return said(self.prompt, "the prompt"), said(self.first, "the first output"), said(self.second, "the second")

    @property
    def completions(self) -> tuple[Text, Text]:
        """Both outputs in the form of the prompt: messages for a conversation."""
        if isinstance(self.prompt, str):
            return self.first, self.second
        first, second = (
            [{"role": "assistant", "content": one}] if isinstance(one, str) else one
            for one in (self.first, self.second)
        )
        return first, second


def pairs_from_samples(
    rows: Rows, *, per_prompt: int = 1, seed: int = 0, name: str = "model", notes: list[str] | None = None
) -> list[OutputPair]:
    """Return pairs that are drawn among the outputs of every prompt.

    Which are drawn is decided by the seed and the texts; no pair is drawn twice, and none of equal or blank texts.

    Args:
        rows: `prompt` (text or a conversation) and `outputs`, a list of texts; `dataset` and what a chat template reads
            are kept.
        per_prompt: pairs of a prompt, as far as its outputs allow.
        seed: of the draw.
        name: of the model.
        notes: gets how many prompts have no two different outputs, and are left out.

    Raises:
        ConfigError: `per_prompt` is below 1.
        DataError: a row lacks a column, or no prompt has two different outputs.

    Example:
        >>> rows = [{"prompt": "Name a colour.", "outputs": ["red", "blue", "red"]}]
        >>> [pair.shown[1:] for pair in pairs_from_samples(rows)]
        [('blue', 'red')]
    """
    if per_prompt < 1:
        raise ConfigError(f"per_prompt must be at least 1, not {per_prompt}; give how many pairs of a prompt to draw.")
    pairs: list[OutputPair] = []
    lacking: list[str] = []
    for place, row in _placed(rows):
        prompt, outputs = _outputs(row, place)
        among = sorted({text for text in outputs if text.strip()})
        # In JSON half a character can be encoded.
        draw = random.Random(json.dumps([seed, said(prompt, place), among]))
        possible = list(combinations(among, 2))
        drawn = draw.sample(possible, min(per_prompt, len(possible)))
        if not drawn:
            lacking.append(place)
        kept = {column: row[column] for column in _KEPT_OF_OUTPUTS if row.get(column) is not None}
        pairs += [OutputPair(prompt, first, second, (name, name), kept) for first, second in drawn]
    return _some(pairs, lacking, notes, "no two different outputs", "sample more outputs of a prompt")


def pairs_from_models(
    first: Rows,
    second: Rows,
    *,
    names: tuple[str, str] = ("first", "second"),
    notes: list[str] | None = None,
) -> list[OutputPair]:
    """Return for every prompt the first output of one model and that of another.

    Args:
        first: rows of `prompt` and `outputs` of one model.
        second: those of the other, for the same prompts in any order.
        names: of the models.
        notes: gets how many pairs have equal or blank texts, and are left out.

    Raises:
        DataError: a row lacks a column, a prompt comes twice or is not in both, or all pairs are left out.
    """
    ours, theirs = _by_prompt(first, names[0]), _by_prompt(second, names[1])
    lost = [prompt for prompt in ours if prompt not in theirs] or [prompt for prompt in theirs if prompt not in ours]
    if lost:
        raise DataError(
            f"{names[0]} and {names[1]} do not have the same prompts, {len(ours)} and {len(theirs)} of them: only one "
            f"has {excerpt(lost[0])}; give outputs for the same prompts."
        )
    pairs: list[OutputPair] = []
    lacking: list[str] = []
    for key, (place, prompt, outputs, columns) in ours.items():
        pair = (outputs[0], theirs[key][2][0])
        if pair[0] == pair[1] or not all(text.strip() for text in pair):
            lacking.append(place)
        else:
            pairs.append(OutputPair(prompt, *pair, names, columns))
    return _some(pairs, lacking, notes, "outputs that are equal or blank", "compare others")


def pairs_to_relabel(rows: Rows, *, notes: list[str] | None = None) -> list[OutputPair]:
    """Return the pairs of preferences that are there, to be labelled anew.

    Args:
        rows: `prompt`, `chosen`, `rejected`, as text or conversations, or without a prompt what both begin with.
            Further columns are kept, but for those that an annotation writes itself.
        notes: gets how many pairs have equal or blank texts, or come again, and are left out.

    Raises:
        DataError: a row lacks a column or makes no preference, or all pairs are left out.

    Example:
        >>> rows = [{"prompt": "Name a colour.", "chosen": "red", "rejected": "dog", "dataset": "d"}]
        >>> pair = pairs_to_relabel(rows)[0]
        >>> pair.names, pair.columns
        (('chosen', 'rejected'), {'dataset': 'd'})
    """
    pairs: dict[tuple[str, ...], OutputPair] = {}
    lacking: list[str] = []
    again: list[str] = []
    for place, row in _placed(rows):
        for column in CHOSEN_REJECTED:
            if row.get(column) is None:
                raise DataError(f"{place} has no {column!r}; add it, or drop the row.")
            said(row[column], f"{place}, {column!r}")
        found = as_preference(row, where=place)
        shown = tuple(said(text, f"{place}, {name!r}") for name, text in zip(found._fields, found, strict=True))
        key = (shown[0], *sorted(shown[1:]))
        if shown[1] == shown[2] or not all(text.strip() for text in shown[1:]):
            lacking.append(place)
        elif key in pairs:
            again.append(place)
        else:
            taken = ("prompt", *CHOSEN_REJECTED, *OWN_COLUMNS)
            columns = {name: value for name, value in row.items() if name not in taken}
            pairs[key] = OutputPair(*found, CHOSEN_REJECTED, columns)
    _note(again, notes, "a pair that is there before")
    return _some(list(pairs.values()), lacking, notes, "outputs that are equal or blank", "give others")


def _placed(rows: Rows) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, row in enumerate(rows):
        yield row if isinstance(row, tuple) else (f"row {number}", row)


def _outputs(row: Mapping[str, Any], place: str) -> tuple[Text, list[str]]:
    for column in ("prompt", "outputs"):
        if row.get(column) is None:
            raise DataError(f"{place} has no {column!r}; add it, or drop the row.")
    prompt, outputs = row["prompt"], row["outputs"]
    said(prompt, f"{place}, 'prompt'")
    if not isinstance(outputs, list) or not all(isinstance(text, str) for text in outputs):
        raise DataError(f"{place} has {excerpt(outputs)} for 'outputs'; give a list of texts.")
    return prompt, outputs


def _by_prompt(rows: Rows, name: str) -> dict[str, tuple[str, Text, list[str], dict[str, Any]]]:
    found: dict[str, tuple[str, Text, list[str], dict[str, Any]]] = {}
    for place, row in _placed(rows):
        prompt, outputs = _outputs(row, place)
        key = said(prompt, place)
        if not outputs:
            raise DataError(f"{place} has no output; give one of every prompt.")
        if key in found:
            raise DataError(f"{place} of {name} has the same prompt as {found[key][0]}; give every prompt once.")
        kept = {column: row[column] for column in _KEPT_OF_OUTPUTS if row.get(column) is not None}
        found[key] = (place, prompt, outputs, kept)
    return found


def _note(places: list[str], notes: list[str] | None, what: str) -> None:
    if places and notes is not None:
        several = f"{len(places)} rows have {what}, and are left out; the first is {places[0]}."
        notes.append(several if len(places) > 1 else f"{places[0]} has {what}, and is left out.")


def _some(
    pairs: list[OutputPair], lacking: list[str], notes: list[str] | None, what: str, remedy: str
) -> list[OutputPair]:
    if not pairs and lacking:
        raise DataError(f"There is no pair to annotate: all {len(lacking)} rows have {what}; {remedy}.")
    if not pairs:
        raise DataError("There are no rows, so there is no pair to annotate; give at least one.")
    _note(lacking, notes, what)
    return pairs
