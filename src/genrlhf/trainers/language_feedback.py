"""Feedback in words on drafts: who gives it, where people write it down, and what must not be copied of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrlhf.data.chat import TEMPLATE_COLUMNS, is_message
from genrlhf.data.files import iter_rows
from genrlhf.data.log import replace_records
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.rewards.signatures import bind
from genrlhf.text import words
from genrlhf.trainers.groups import Group
from genrlhf.trainers.incorporates import Incorporates
from genrlhf.types import Sampler

if TYPE_CHECKING:
    from genrlhf.trainers.transforms import Round

__all__ = [
    "FEEDBACK_FILE",
    "Draft",
    "candidates_of",
    "copies",
    "drafts_of",
    "feedback_on",
    "fill",
    "given_by_column",
    "refuse_template",
    "scores_of",
]

FEEDBACK_FILE = "feedback.jsonl"


@dataclass(frozen=True)
class Draft:
    """A first answer.

    Attributes:
        prompt: text, or messages.
        text: of the answer.
        row: of the prompt.
        columns: what else stands in its row.
        ended: False where it was cut off.
    """

    prompt: Any
    text: str
    row: int
    columns: Mapping[str, Any]
    ended: bool = True

    @property
    def asking(self) -> dict[str, Any]:
        """The prompt, with what its row hands to the chat template."""
        given = {name: self.columns[name] for name in TEMPLATE_COLUMNS if name in self.columns}
        return {"prompt": self.prompt, **given}

    @property
    def asked(self) -> str:
        """The prompt as one text; of a single message, what it says."""
        if isinstance(self.prompt, str):
            return self.prompt
        turns = [turn for turn in self.prompt if is_message(turn)]
        if len(turns) == 1:
            return str(turns[0]["content"])
        return "\n\n".join(f"{turn['role']}: {turn.get('content') or ''}" for turn in turns)

    def filled(self, template: str, **others: str) -> Any:
        """Return a prompt made of a template's `{prompt}`, `{draft}` and others: a message, where the prompt is one."""
        text = fill(template, prompt=self.asked, draft=self.text, **others)
        return text if isinstance(self.prompt, str) else [{"role": "user", "content": text}]


def drafts_of(groups: Sequence[Group]) -> list[Draft]:
    """Return the drafts of all groups: of the column `draft`, or else what was drawn."""
    found = []
    for group in groups:
        given = group.columns.get("draft")
        drawn = [(each.text, each.ended) for each in group.completions] if given is None else [(given, True)]
        found += [Draft(group.prompt, text, group.row, group.columns, ended) for text, ended in drawn]
    return found


def fill(template: str, **values: str) -> str:
    """Return a template with each `{name}` in the place of which there is a value; what values hold stays as it is.

    Example:
        >>> fill("{a} {b} {c}", a="{b}", b="2")
        '{b} 2 {c}'
    """
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], template)


def refuse_template(name: str, template: str, wanted: Sequence[str]) -> None:
    """Raise `ConfigError` for a template without one of the fields, which would then have no effect."""
    for each in wanted:
        if f"{{{each}}}" not in template:
            raise ConfigError(
                f"{name} is {excerpt(template)}, without {{{each}}}, which would then have no effect on what is asked; "
                "put it in."
            )


def feedback_on(drafts: Sequence[Draft], source: Any, template: str, round_: Round) -> list[str | None]:
    """Return feedback on drafts; None for those that people leave out, or that a model has nothing to say of.

    Args:
        drafts: all of the round.
        source: a function, a sampler, a model's name or folder, "policy"; None for the column `feedback`, or people.
        template: that a model is asked with.
        round_: keeps what was said.

    Raises:
        DataError: where feedback is missing, empty, or still to be given by people.
    """
    if source is None and all("feedback" in draft.columns for draft in drafts):
        return [*given_by_column(drafts)]
    if source is None:
        return given_by_people(round_.folder, drafts)
    if callable(source) and not isinstance(source, Sampler):
        name = str(getattr(source, "__name__", type(source).__name__))
        return round_.each("feedback", drafts, lambda some: given_by_function(source, some, name), at_a_time=16)
    asked = [{"prompt": draft.filled(template)} for draft in drafts]
    said = round_.draw("feedback", asked, 1, source=None if source == "policy" else source)
    return [record["outputs"][0].strip() or None for record in said]


def candidates_of(
    draft: Draft, feedback: str, record: Mapping[str, Any], keep_draft: bool, forbid_copy: int
) -> tuple[list[str], str]:
    """Return the refinements that may be taught, each once, and why there are none.

    Args:
        draft: that they refine; with `keep_draft` it is the first of them.
        feedback: on it.
        record: of what was drawn.
        keep_draft: see above.
        forbid_copy: so many words in a row that the feedback has, and neither prompt nor draft, rule one out; 0: off.
    """
    whole = [text for text, ended in zip(record["outputs"], record["ended"], strict=True) if ended and text.strip()]
    free = [
        text for text in whole if not forbid_copy or not copies(text, feedback, forbid_copy, draft.asked, draft.text)
    ]
    found = list(dict.fromkeys([*([draft.text] if keep_draft and draft.ended else []), *free]))
    return found, "all refinements copy the feedback" if whole else "all refinements were cut off, or are empty"


def scores_of(
    told: Sequence[tuple[Draft, str]], candidates: Sequence[Sequence[str]], scorer: Any, round_: Round
) -> list[list[float]]:
    """Return the scores of the candidates of each draft, of one alone 0, without asking; kept as they come.

    Raises:
        RewardError: for scores that are not finite numbers, one each.
    """
    made: list[Any] = []

    def score(places: Sequence[int]) -> list[list[float]]:
        if scorer is None and not made:
            made.append(Incorporates(round_.model, round_.tokenizer))
        judge = made[0] if scorer is None else scorer
        found = []
        for place in places:
            (draft, said), texts = told[place], list(candidates[place])
            given = [[value] * len(texts) for value in (draft.asked, draft.text, said)]
            alone = len(texts) < 2
            values = [0.0] * len(texts) if alone else judge(*given, texts)
            found.append(check_rewards(values, given[0], texts, name=reward_name(judge)))
        return found

    return round_.each("scores", range(len(told)), score)


def given_by_function(function: Callable[..., Any], drafts: Sequence[Draft], name: str) -> list[str]:
    """Return what a function says of drafts: `(prompts, completions, **columns) -> texts`.

    Raises:
        DataError: for another number of texts, or an empty one.
    """
    shared = set.intersection(*(set(draft.columns) for draft in drafts)) if drafts else set()
    columns = {column: [draft.columns[column] for draft in drafts] for column in sorted(shared)}
    prompts, texts = [draft.prompt for draft in drafts], [draft.text for draft in drafts]
    args, keywords = bind(function, prompts, texts, columns, name=name)
    found = list(function(*args, **keywords))
    if len(found) != len(drafts):
        raise DataError(f"{name} returned {len(found)} texts for {len(drafts)} drafts; return one for each.")
    for draft, text in zip(drafts, found, strict=True):
        _refuse_empty(text, f"{name} gave to the draft {excerpt(draft.text)} of row {draft.row}")
    return found


def _refuse_empty(text: Any, what: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"The feedback that {what} is {excerpt(text)}; give a text, or leave the row out.")


def given_by_column(drafts: Sequence[Draft]) -> list[str]:
    """Return the column `feedback` of the drafts' rows.

    Raises:
        DataError: for an empty one.
    """
    for draft in drafts:
        _refuse_empty(draft.columns.get("feedback"), f"stands in row {draft.row}, column 'feedback',")
    return [str(draft.columns["feedback"]) for draft in drafts]


def given_by_people(folder: Path, drafts: Sequence[Draft]) -> list[str | None]:
    """Return what people have written into the round's file of drafts; None for drafts that they leave out.

    Where there is no such file, it is written, for them to fill in.

    Raises:
        DataError: where feedback is still to be given, or the file is one of other drafts.
    """
    file = folder / FEEDBACK_FILE
    how = 'write what should be better into "feedback" (or false, to leave the draft out), and start again as before'
    if not file.is_file():
        lines = [
            {"draft_id": number, "prompt": draft.prompt, "draft": draft.text, "feedback": None}
            for number, draft in enumerate(drafts)
        ]
        replace_records(file, lines)
        raise DataError(f"{len(drafts)} drafts wait for feedback, a line each, in {file}: {how}.")
    found: dict[int, str | None] = {}
    for where, line in iter_rows(file):
        number = line.get("draft_id")
        known = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(drafts)
        if not known or line.get("draft") != drafts[number].text or number in found:  # type: ignore[index]
            raise DataError(
                f"{where} is {excerpt(line)}, which is none of the drafts of this run, or one of them twice; move the "
                "file away, and drafts are written anew."
            )
        text = line.get("feedback")
        if text is False:
            found[int(number)] = None  # type: ignore[arg-type]
        elif isinstance(text, str) and text.strip():
            found[int(number)] = text  # type: ignore[arg-type]
    missing = [number for number in range(len(drafts)) if number not in found]
    if missing:
        first = drafts[missing[0]]
        raise DataError(
            f"{len(missing)} of {len(drafts)} drafts have no feedback yet in {file}; the first is draft_id "
            f"{missing[0]}, {excerpt(first.text)} of row {first.row}: {how}."
        )
    return [found[number] for number in range(len(drafts))]


def copies(text: str, feedback: str, n: int, *known: str) -> bool:
    """Whether a text has n words in a row that the feedback has too, and none of the `known` texts.

    Example:
        >>> copies("It says that whales sing.", "Say that whales sing.", 3)
        True
        >>> copies("It says that whales sing.", "Say that whales sing.", 3, "Do you know that whales sing.")
        False
    """

    def runs(of: str) -> set[tuple[str, ...]]:
        found = [word.casefold() for word in words(of)]
        return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}

    return bool((runs(text) & runs(feedback)).difference(*map(runs, known)))
