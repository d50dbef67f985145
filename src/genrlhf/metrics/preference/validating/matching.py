"""The labels that humans and a judge give to the same pairs of outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from genrlhf.errors import DataError, excerpt
from genrlhf.metrics.preference.counting.annotations import column, preference_share

__all__ = ["EVERYTHING", "LabelledPair", "match_pairs", "pairs_from_preferences", "said"]

EVERYTHING = "all"
"""The name of the data set of rows that name none, and of all data sets together."""

Side: TypeAlias = tuple[str, str]
"""Generator and output."""

Key: TypeAlias = tuple[str, frozenset[Side]]
"""Instruction and the two sides, in no order."""


@dataclass(frozen=True)
class LabelledPair:
    """Two outputs for one instruction, with what humans and the judge say of them.

    First and second are as in the pair's first human row; a label is the win share of the second output.

    Attributes:
        dataset: name of the test set.
        generators: names of the two models.
        lengths: characters of the two outputs.
        annotators: names of the humans who answered.
        humans: (h,) float64, their labels; whoever labelled the pair several times has the mean of them.
        asked: whether the judge has a row for the pair.
        judge: (j,) float64, the judge's answers.
        first_shown_wins: of the judge's rows that tell it, the share of answers for what was shown first.
        flipped: of the judge's rows that tell it, 1 where the verdict changed with the order, 0 where it did not.
    """

    dataset: str
    generators: tuple[str, str]
    lengths: tuple[int, int]
    annotators: tuple[str, ...]
    humans: np.ndarray
    asked: bool
    judge: np.ndarray
    first_shown_wins: tuple[float, ...]
    flipped: tuple[float, ...]


@dataclass(frozen=True)
class _Annotation:
    """A row whose columns have been checked; `share` is how much it prefers the second side."""

    instruction: str
    first: Side
    second: Side
    share: float | None
    annotator: str
    dataset: str
    first_shown_wins: float | None
    flipped: float | None

    @property
    def key(self) -> Key:
        return self.instruction, frozenset((self.first, self.second))

    def share_of(self, side: Side) -> float | None:
        return self.share if self.share is None or side == self.second else 1 - self.share


def match_pairs(judge_rows: Iterable[Mapping[str, Any]], human_rows: Iterable[Mapping[str, Any]]) -> list[LabelledPair]:
    """Return the humans' pairs of every data set, with the judge's answers where there are any.

    Rows are of one pair where instruction, generators and outputs are the same, whichever output comes first. Pairs
    that only the judge has are left out.

    Args:
        judge_rows: as of `validate_judge`.
        human_rows: as of `validate_judge`.

    Raises:
        DataError: either has no rows, a row lacks a column or has a wrong value, or no pair is in both.
    """
    judged: dict[Key, list[_Annotation]] = {}
    for one in _annotations(judge_rows, "judge"):
        judged.setdefault(one.key, []).append(one)
    labelled: dict[tuple[str, Key], list[_Annotation]] = {}
    for one in _annotations(human_rows, "human"):
        labelled.setdefault((one.dataset, one.key), []).append(one)
    if not any(key in judged for _, key in labelled):
        raise DataError(_nothing_shared(judged, labelled))
    return [_labelled_pair(dataset, humans, judged.get(key, [])) for (dataset, key), humans in labelled.items()]


def _annotations(rows: Iterable[Mapping[str, Any]], whose: str) -> list[_Annotation]:
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(_annotation(row, number, whose))
        except DataError as error:
            raise DataError(f"{whose} {error}") from None
    if not found:
        raise DataError(f"There are no {whose} rows; give at least one annotation.")
    return found


def _annotation(row: Mapping[str, Any], number: int, whose: str) -> _Annotation:
    names = ("instruction", "generator_1", "output_1", "generator_2", "output_2")
    instruction, *sides = (_text(column(row, name, number), name, number) for name in names)
    first, second = (sides[0], sides[1]), (sides[2], sides[3])
    if first == second:
        raise DataError(f"row {number} compares an output of {first[0]!r} with itself; drop the row.")
    judges, dataset = whose == "judge", _given(row, "dataset")
    annotator = whose if judges else column(row, "annotator", number)
    if annotator is None or annotator != annotator:
        raise DataError(f"row {number} does not say whose it is; give every annotator a name of their own.")
    return _Annotation(
        instruction=instruction,
        first=first,
        second=second,
        share=preference_share(column(row, "preference", number), number),
        annotator=str(annotator),
        dataset=EVERYTHING if dataset is None else str(dataset),
        first_shown_wins=_known(row, "first_shown_wins", number) if judges else None,
        flipped=_known(row, "flipped", number) if judges else None,
    )


def _text(value: Any, name: str, number: int) -> str:
    if not isinstance(value, str):
        raise DataError(f"row {number} has {excerpt(value)} for {name!r}; make it text.")
    return value


def _given(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column that need not be there; None where it is not, or is NaN."""
    value = row.get(name)
    return None if value != value else value


def _known(row: Mapping[str, Any], name: str, number: int) -> float | None:
    value = _given(row, name)
    if value is None:
        return None
    truth = isinstance(value, (bool, np.bool_))
    if name == "flipped" and not truth:
        raise DataError(
            f"row {number} has {excerpt(value)} for 'flipped'; it must be true, false, or null (not known)."
        )
    if name != "flipped" and (truth or not isinstance(value, (int, float)) or not 0 <= value <= 1):
        raise DataError(f"row {number} has {excerpt(value)} for {name!r}; it must be from 0 to 1, or null (not known).")
    return float(value)


def _labelled_pair(dataset: str, humans: Sequence[_Annotation], judge: Sequence[_Annotation]) -> LabelledPair:
    first, second = humans[0].first, humans[0].second
    labels: dict[str, list[float]] = {}
    for one in humans:
        share = one.share_of(second)
        if share is not None:
            labels.setdefault(one.annotator, []).append(share)
    answers = [share for one in judge if (share := one.share_of(second)) is not None]
    return LabelledPair(
        dataset=dataset,
        generators=(first[0], second[0]),
        lengths=(len(first[1]), len(second[1])),
        annotators=tuple(labels),
        humans=np.array([sum(own) / len(own) for own in labels.values()], dtype=np.float64),
        asked=bool(judge),
        judge=np.array(answers, dtype=np.float64),
        first_shown_wins=tuple(one.first_shown_wins for one in judge if one.first_shown_wins is not None),
        flipped=tuple(one.flipped for one in judge if one.flipped is not None),
    )


def _nothing_shared(judged: Mapping[Key, Any], labelled: Mapping[tuple[str, Key], Any]) -> str:
    instructions = {instruction for instruction, _ in judged}
    shared = [instruction for _, (instruction, _) in labelled if instruction in instructions]
    missing = next(instruction for _, (instruction, _) in labelled)
    found = (
        f"both have the instruction {excerpt(shared[0])}, with other generators or outputs"
        if shared
        else f"the judge has no row for the instruction {excerpt(missing)}"
    )
    return (
        f"None of the {len(labelled)} pairs of the humans is among the {len(judged)} of the judge: {found}; have the "
        "judge compare the humans' pairs, with instruction, generators and outputs as they are there."
    )


def pairs_from_preferences(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return human annotations from the rows of a preference set.

    The chosen output is the first one and is always preferred, by the annotator "human"; `dataset` is kept. What the
    rows have in other columns is not.

    Args:
        rows: in TRL's columns, `prompt`, `chosen` and `rejected`: text, or conversations as lists of messages with
            `role` and `content`. Of a conversation the text is that of its only message, or all of them in turn, each
            after its role; an output that repeats the prompt is taken without it.

    Raises:
        DataError: there are no rows, or one lacks a column or has neither text nor messages in it.

    Example:
        >>> turn = [{"role": "user", "content": "Say hi."}]
        >>> row = {"prompt": turn, "chosen": [{"role": "assistant", "content": "Hi!"}], "rejected": "No."}
        >>> found = pairs_from_preferences([row])[0]
        >>> found["instruction"], found["output_1"], found["output_2"], found["preference"]
        ('Say hi.', 'Hi!', 'No.', 1)
    """
    found = []
    for number, row in enumerate(rows):
        for name in ("prompt", "chosen", "rejected"):
            if name not in row:
                raise DataError(f"preference row {number} has no {name!r}; add it, or drop the row.")
        prompt = row["prompt"]
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        annotation = {"instruction": said(prompt, f"preference row {number}, 'prompt'")}
        for place, name in enumerate(("chosen", "rejected"), 1):
            output = row[name]
            text = said(output, f"preference row {number}, {name!r}")
            if (
                not isinstance(output, str)
                and len(output) > len(asked)
                and _turns(output[: len(asked)]) == _turns(asked)
            ):
                text = said(output[len(asked) :], "")
            annotation[f"output_{place}"] = text
            annotation[f"generator_{place}"] = name
        kept = {} if (dataset := _given(row, "dataset")) is None else {"dataset": dataset}
        found.append({**annotation, "annotator": "human", "preference": 1, **kept})
    if not found:
        raise DataError("There are no preference rows; give at least one.")
    return found


def _turns(messages: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages]


def said(value: Any, where: str) -> str:
    """Return text as it is, and of messages that of the only one, or all in turn, each after its role.

    Args:
        value: text, or a list of messages with `role` and `content`.
        where: its place, for the message.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or not all(_is_message(message) for message in value):
        raise DataError(f"{where} is {excerpt(value)}; give text, or a list of messages with role and content.")
    turns = _turns(value)
    return turns[0][1] if len(turns) == 1 else "\n\n".join(f"{role}: {content}" for role, content in turns)


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in ("role", "content"))
