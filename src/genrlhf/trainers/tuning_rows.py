"""The rows that a policy is tuned on: what a transform makes of groups, as tokens.

A completion that was drawn is trained as it was sampled, token by token; its text tokenised anew would put EOS behind
what was cut off, and so teach the policy to stop there, and another end of turn behind what ended in one of several.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeAlias

from datasets import Dataset

from genrlhf.data.chat import prompt_of, template_options
from genrlhf.data.log import recover_records, replace_records
from genrlhf.data.pairs import as_pair
from genrlhf.data.schema import check_text
from genrlhf.errors import DataError, excerpt
from genrlhf.sampling.decode import prompt_token_ids
from genrlhf.trainers.group_data import check_lists
from genrlhf.trainers.groups import Completion
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.own_rows import RowTokens, own_columns
from genrlhf.trainers.pair_data import split_prompt
from genrlhf.trainers.row_weights import check_transform_weights
from genrlhf.trainers.sft_data import DemonstrationEncoder, Encoded, training_template

__all__ = ["COMPLETIONS", "Row", "Tune", "TuningRows", "load_rows", "save_rows", "tokenised", "tuning_rows"]

logger = logging.getLogger(__name__)

Tune: TypeAlias = Literal["supervised", "ranking", "pairwise"]
Row: TypeAlias = Mapping[str, Any]

COMPLETIONS: dict[str, tuple[str, ...]] = {
    "supervised": ("completion",),
    "ranking": ("completions",),
    "pairwise": ("chosen", "rejected"),
}
"""The columns that hold completions, by how they are tuned on."""


@dataclass(frozen=True)
class TuningRows:
    """What a transform may return in place of a list: rows, and why groups gave none.

    Attributes:
        rows: to tune on.
        left_out: how many groups gave none, by the reason, such as {"all rewards are equal": 3}.
    """

    rows: Sequence[Row]
    left_out: Mapping[str, int] = field(default_factory=dict)


def tuning_rows(made: Any, tune: Tune, n_groups: int, *, own: bool = False) -> list[dict[str, Any]]:
    """Return the rows that a transform has made of groups, and say how many groups gave none, and why.

    Args:
        made: by the transform.
        tune: how they are tuned on.
        n_groups: of which they were made.
        own: the objective reads what it likes of a row beside its prompt.

    Raises:
        DataError: where they are no rows of the columns that are tuned on, or there are none.
    """
    given = made if isinstance(made, TuningRows) else TuningRows(made)
    every: Any = given.rows
    if isinstance(every, (str, bytes, Mapping)) or not isinstance(every, Iterable):
        raise DataError(
            f"The transform returned {excerpt(made)}; it must return a list of rows, or a TuningRows of one."
        )
    counts: Any = given.left_out
    if not isinstance(counts, Mapping) or not all(isinstance(count, Integral) for count in counts.values()):
        raise DataError(
            f"The transform returned TuningRows with left_out={excerpt(counts)}; give how many groups gave no row, by "
            'the reason, such as {"all rewards are equal": 3}.'
        )
    rows = list(every)
    why = ", ".join(f"{reason} ({count})" for reason, count in counts.items() if count)
    wanted = ("prompt",) if own else ("prompt", *COMPLETIONS[tune])
    for number, row in enumerate(rows):
        missing = [name for name in wanted if not isinstance(row, Mapping) or name not in row]
        if missing and not (tune == "supervised" and isinstance(row, Mapping) and {"messages", "text"} & set(row)):
            raise DataError(
                f"Row {number} of the transform is {excerpt(row)}, without {missing[0]!r}; tune={tune!r} wants "
                f"{', '.join(wanted)}.{_meant(row)}"
            )
    if not rows:
        raise DataError(
            f"The transform made no row of {n_groups} groups{f': {why}' if why else ''}; there is nothing to tune on."
        )
    if left_out := sum(counts.values()):
        logger.warning("%d of %d groups gave no row: %s.", left_out, n_groups, why)
    elif len(rows) < n_groups:
        logger.warning("The transform made %d rows of %d groups.", len(rows), n_groups)
    return [dict(row) for row in rows]


def _meant(row: Any) -> str:
    """Say how a row with these columns would be tuned on; nothing where no way has them."""
    for tune, columns in COMPLETIONS.items():
        if isinstance(row, Mapping) and set(columns) <= set(row):
            return f" Its columns are those of tune={tune!r}; name that as the transform's attribute `tune`."
    return ""


def save_rows(file: Path, rows: Sequence[Row]) -> None:
    """Write rows to `file`, all of them or none.

    Raises:
        DataError: where a column is nothing that JSON has.
    """
    records = [{name: _as_json(value) for name, value in row.items()} for row in rows]
    for number, record in enumerate(records):
        for name, value in record.items():
            try:
                json.dumps(value)
            except TypeError as error:
                raise DataError(
                    f"Row {number} of the transform, {name!r}, cannot be kept as JSON: {error}; give text, numbers, or "
                    "lists and mappings of these."
                ) from error
    replace_records(file, records)


def _as_json(value: Any) -> Any:
    if isinstance(value, Completion):
        return {"genrlhf_completion": asdict(value)}
    if hasattr(value, "tolist"):  # numbers of numpy or torch
        return value.tolist()
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def load_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows that `save_rows` has written; none where there is no such file."""
    return [{key: _from_json(value) for key, value in record.items()} for record in recover_records(file)]


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"genrlhf_completion"}:
        return Completion(**value["genrlhf_completion"])
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def tokenised(
    rows: Sequence[Row],
    tune: Tune,
    tokenizer: Any,
    *,
    columns: tuple[str, ...] = (),
    weight_column: str | None = None,
    train_cut_off: bool = True,
    what: str = "samples",
    objective: Objective | None = None,
    max_length: int | None = None,
) -> Dataset:
    """Return rows as the trainer that tunes on them takes them, and say how many samples were cut off.

    Args:
        rows: of a transform.
        tune: how they are tuned on.
        tokenizer: of the policy.
        columns: that the objective reads; of groups, which have a value for each completion.
        weight_column: the weight of a row, where rows have one.
        train_cut_off: keep completions that were cut off. Those whose tokens are not known are left out anyway.
        what: they are called in messages.
        objective: that they are tuned by; None for the cross-entropy.
        max_length: tokens that a row may have, where the objective makes them of it.

    Raises:
        DataError: for rows that cannot be used, naming the row; where all were cut off, and only others are kept.
    """
    check_transform_weights(rows, tune, weight_column, columns)
    encoder = _Encoder(tokenizer, template=training_template(tokenizer))
    kept = [each for row in rows if (each := _without_cut_off(row, tune, columns, train_cut_off)) is not None]
    before, after = ([each for row in some for each in _drawn(row, tune)] for some in (rows, kept))
    cut_off = sum(not each.ended for each in before)
    _tell_cut_off(cut_off, len(before), what, trained=len(after) == len(before), any_left=bool(kept))
    if objective is not None and objective.encodes:
        return Dataset.from_list(
            [
                encoder.own(row, f"row {number} of the transform", objective, max_length, weight_column)
                for number, row in enumerate(kept)
            ]
        )
    if tune == "supervised" and not any(isinstance(row.get("completion"), Completion) for row in kept):
        return Dataset.from_list([dict(row) for row in kept])
    encode = {"supervised": encoder.demonstration, "ranking": encoder.group, "pairwise": encoder.pair}[tune]
    return Dataset.from_list(
        [encode(row, f"row {number} of the transform", columns) for number, row in enumerate(kept)]
    )


def _drawn(row: Row, tune: Tune) -> list[Completion]:
    values = row["completions"] if tune == "ranking" else [row.get(name) for name in COMPLETIONS[tune]]
    return [value for value in values if isinstance(value, Completion)]


def _without_cut_off(row: Row, tune: Tune, columns: tuple[str, ...], train_cut_off: bool) -> Row | None:
    """Return a row without completions that are not to be trained; None where nothing is left of it."""

    def trained(completion: Any) -> bool:
        if not isinstance(completion, Completion) or completion.ended:
            return True
        # Without its tokens it could only be trained as if it had ended.
        return train_cut_off and completion.token_ids is not None

    if tune != "ranking":
        return row if all(trained(row.get(name)) for name in COMPLETIONS[tune]) else None
    places = [place for place, completion in enumerate(row["completions"]) if trained(completion)]
    if len(places) == len(row["completions"]):
        return row
    lists = {name: [row[name][place] for place in places] for name in ("completions", *columns)}
    return {**row, **lists} if places else None


def _tell_cut_off(cut_off: int, total: int, what: str, *, trained: bool, any_left: bool) -> None:
    """Say how many completions were cut off, and what becomes of them."""
    remedy = "raise max_new_tokens, or give stop strings"
    if not any_left:
        raise DataError(f"All {total} {what} were cut off at max_new_tokens; {remedy}.")
    if cut_off:
        logger.warning(
            "%d of %d %s were cut off at max_new_tokens, and %s; to have fewer, %s.",
            cut_off,
            total,
            what,
            "are trained without EOS" if trained else "are left out",
            remedy,
        )


class _Encoder(DemonstrationEncoder):
    """Makes tokens of completions that were drawn, and of others as demonstrations are."""

    def completed(self, row: Row, value: Any, where: str) -> Encoded:
        if isinstance(value, Completion) and value.token_ids is not None:
            asked = prompt_token_ids(self.tokenizer, prompt_of(row, where), where=where)
            ids = list(value.token_ids)
            return Encoded(asked + ids, [False] * len(asked) + [True] * len(ids))
        value = value.text if isinstance(value, Completion) else value
        check_text(value, f"{where}, a completion")
        prompt, completion = as_pair(row["prompt"], value, where=where)
        return self.tokens(prompt, completion, template_options(row, where), where)

    def own(
        self, row: Row, where: str, objective: Objective, max_length: int | None, weight: str | None
    ) -> dict[str, Any]:
        def encode(prompt: Any, completion: Any) -> Encoded:
            return self.completed({**row, "prompt": prompt}, completion, where)

        kept = {name: row[name] for name in (weight,) if name is not None and name in row}
        tokens = RowTokens(self, encode, where, max_length, objective.draws)
        return {**kept, **own_columns(objective, row, tokens)[0]}

    def demonstration(self, row: Row, where: str, columns: tuple[str, ...]) -> dict[str, Any]:
        text, completion = self.completed(row, row["completion"], where), row["completion"]
        ended = {"ended": completion.ended} if isinstance(completion, Completion) else {"ended": True}
        shown = _as_turn(row["prompt"], completion)
        tokens = {"input_ids": text.ids, "completion_mask": [int(bit) for bit in text.mask]}
        return {**row, "completion": shown, **ended, **tokens}

    def pair(self, row: Row, where: str, columns: tuple[str, ...]) -> dict[str, Any]:
        texts = [self.completed(row, row[name], where) for name in ("chosen", "rejected")]
        if texts[0].ids == texts[1].ids:
            raise DataError(
                f"In {where} chosen and rejected are both {excerpt(_as_turn('', row['chosen']))}, and say nothing of "
                "what is better; leave such pairs out."
            )
        prompt_ids, (chosen_ids, rejected_ids) = split_prompt(texts, where)
        return {"prompt_ids": prompt_ids, "chosen_ids": chosen_ids, "rejected_ids": rejected_ids}

    def group(self, row: Row, where: str, columns: tuple[str, ...]) -> dict[str, Any]:
        check_lists(row, columns, where)
        texts = [self.completed(row, completion, where) for completion in row["completions"]]
        prompt_ids, completion_ids = split_prompt(texts, where)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            **{name: list(row[name]) for name in columns},
        }


def _as_turn(prompt: Any, completion: Any) -> Any:
    """Return a completion in the form that its prompt has: text, or a message."""
    text = completion.text if isinstance(completion, Completion) else completion
    return text if isinstance(prompt, str) or not isinstance(text, str) else [{"role": "assistant", "content": text}]
