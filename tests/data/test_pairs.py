"""Prompt and completion in one form, every turn once."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.data.pairs import as_pair, as_preference
from genrlhf.errors import DataError


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "be brief"}
ASK, YES, NO = user("the cat"), assistant("sat"), assistant("ran")


@pytest.mark.parametrize(
    ("prompt", "completion", "right"),
    [
        ("the cat", " sat", ("the cat", " sat")),
        ([ASK], [YES], ([ASK], [YES])),
        ([ASK], "sat", ([ASK], [YES])),
        ("the cat", [YES], ([ASK], [YES])),
        ("the cat", [ASK, YES], ([ASK], [YES])),
        (" the cat\n", [SYSTEM, ASK, YES], ([SYSTEM, ASK], [YES])),
        ([ASK], [ASK, YES], ([ASK], [YES])),
        ([SYSTEM, ASK], [ASK, YES], ([SYSTEM, ASK], [YES])),
        ([{**ASK, "name": None}], [ASK, YES], ([{**ASK, "name": None}], [YES])),
        ([], [ASK, YES], ([], [ASK, YES])),
    ],
)
def test_prompt_and_completion_in_one_form(prompt: Any, completion: Any, right: Any) -> None:
    assert as_pair(prompt, completion) == right


@pytest.mark.parametrize(
    ("prompt", "completion"), [("dogs", [ASK, YES]), ("dogs", [SYSTEM, YES]), ([ASK], [ASK]), ([ASK, YES], [ASK, YES])]
)
def test_what_makes_no_conversation_is_refused(prompt: Any, completion: Any) -> None:
    with pytest.raises(DataError, match="mine, row 3, column '(prompt|chosen)'"):
        as_pair(prompt, completion, where="mine, row 3", column="chosen")


H, A = "\n\nHuman: the cat\n\nAssistant:", "\n\nHuman: why?\n\nAssistant:"


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ({"chosen": H + " sat" + A + " so", "rejected": H + " sat" + A + " no"}, (H + " sat" + A, " so", " no")),
        ({"chosen": H + " sat", "rejected": H + "ran"}, (H, " sat", "ran")),
        ({"chosen": [ASK, YES], "rejected": [ASK, NO]}, ([ASK], [YES], [NO])),
        ({"prompt": "the cat", "chosen": [ASK, YES], "rejected": [ASK, NO]}, ([ASK], [YES], [NO])),
        ({"prompt": [ASK], "chosen": [ASK, YES], "rejected": "ran"}, ([ASK], [YES], [NO])),
        ({"prompt": "the cat", "chosen": [SYSTEM, ASK, YES], "rejected": [NO]}, ([SYSTEM, ASK], [YES], [NO])),
        ({"prompt": None, "chosen": [ASK, YES], "rejected": [ASK, NO]}, ([ASK], [YES], [NO])),
        # One is the beginning of the other: nothing tells where the prompt ends, and the whole texts are scored.
        ({"chosen": H + " sat", "rejected": H + " sat down"}, ("", H + " sat", H + " sat down")),
        ({"chosen": [ASK], "rejected": [ASK, NO]}, ([], [ASK], [ASK, NO])),
    ],
)
def test_the_prompt_is_what_both_begin_with(row: dict[str, Any], right: Any) -> None:
    assert as_preference(row) == right


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": "a", "rejected": [NO]},
        {"prompt": [ASK], "chosen": [YES], "rejected": [ASK]},
        {"prompt": "dogs", "chosen": [ASK, YES], "rejected": [ASK, NO]},
        {"prompt": "the cat", "chosen": [user("x"), ASK, YES], "rejected": [user("y"), ASK, NO]},
    ],
)
def test_preferences_that_answer_no_one_conversation_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="mine, row 3"):
        as_preference(row, where="mine, row 3")


def test_blank_before_the_answer_belongs_to_it_as_in_trl() -> None:
    from trl import extract_prompt

    row = {"chosen": H + " sat on", "rejected": H + " ran"}
    assert as_preference(row)._asdict() == extract_prompt(row)
