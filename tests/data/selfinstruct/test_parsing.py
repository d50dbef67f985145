"""What answers say, tame and hostile."""

from __future__ import annotations

import time

import pytest

from genrlhf.data.selfinstruct.parsing import MOST_ITEMS, listed, said_yes, written_instances


@pytest.mark.parametrize(
    ("text", "opening", "items"),
    [
        (" Name a bird.\n10. Sum 2 and 3.\n11.", "9.", ["Name a bird.", "Sum 2 and 3."]),
        ("Sure, here they are:\n\n9. Name a bird.\n\n10. Sum\n2 and 3.", "", ["Name a bird.", "Sum 2 and 3."]),
        ("**9.** Name a bird.\n 10) Sum.\n### 11: Go.\n12 . Stay.", "", ["Name a bird.", "Sum.", "Go.", "Stay."]),
        ("９、说出一种鸟。\n10、写诗。", "", ["说出一种鸟。", "写诗。"]),
        ("3.14 is pi\n9. Round 3.14\n2.72 too", "", ["Round 3.14 2.72 too"]),
        ("I cannot help with that.", "", []),
        ("9. Half \ud83d of a pair.", "", ["Half ? of a pair."]),
        ("", "9.", []),
    ],
)
def test_numbered_lists(text: str, opening: str, items: list[str]) -> None:
    assert listed(text, opening) == items


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (" yes", True),
        ("**No**.", False),
        ("Answer: yes", None),
        ("", None),
        ("1", None),
        ("YES!", True),
        ("nope", None),
    ],
)
def test_yes_and_no(text: str, verdict: bool | None) -> None:
    assert said_yes(text) is verdict


@pytest.mark.parametrize(
    ("text", "label_first", "opening", "found"),
    [
        (" 2 3\nOutput: 5", False, "Input:", [("2 3", "5")]),
        ("Input: <noinput>\nOutput: a\nb\n\nc", False, "", [("", "a\nb\n\nc")]),
        (
            "**Input:** x\n**Output:** y\n### Example 2\n- Input 2: z\n  Output: w",
            False,
            "",
            [("x", "y"), ("z", "w")],
        ),
        ("Output: only this", False, "", [("", "only this")]),
        ("Input: a\nInput: b\nOutput: c\nOutput: d", False, "", [None, ("b", "c"), None]),
        ("Input: a\nOutput: b\nTask: another\nInput: c\nOutput: d", False, "", [("a", "b")]),
        ("Input: a\nOutput: Example: this one\nends", False, "", [("a", "Example: this one\nends")]),
        (" good\nInput: nice\n\nLabel: bad\nInput: awful", True, "Label:", [("nice", "good"), ("awful", "bad")]),
        (
            "Class label: good\nInput: nice\nOutput: bad\nLabel: bad\nInput: no",
            True,
            "",
            [("nice", "good"), ("no", "bad")],
        ),
        ("Label: good\nLabel: bad\nInput: x", True, "", [None, ("x", "bad")]),
        ("no marks at all", False, "", []),
    ],
)
def test_instances(text: str, label_first: bool, opening: str, found: list[tuple[str, str] | None]) -> None:
    made = written_instances(text, label_first=label_first, opening=opening)
    assert [each and (each.input, each.output) for each in made] == found


@pytest.mark.parametrize(
    "text",
    [
        "9." * 10**6,
        "\n" * 10**6,
        " " * 10**6 + "9. x",
        "9. x\n" * 10**5,
        "*" * 10**6 + "Input:",
        "Input: \n" * 10**5,
        "Input" + " " * 10**6 + ":",
        "Example 1 " * 10**5,
        "Label:\nInput:\n" * 10**5,
        "\ud800\u202e\x00 9. x",
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_answers_take_no_time_and_are_bounded(text: str) -> None:
    start = time.process_time()
    items = listed(text)
    found = [*written_instances(text, label_first=False), *written_instances(text, label_first=True)]
    said_yes(text)
    assert time.process_time() - start < 1
    assert len(items) <= MOST_ITEMS and len(found) <= 2 * MOST_ITEMS
