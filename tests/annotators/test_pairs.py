"""Pairs from samples, from two models, and from preferences."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from genrlhf.annotators import pairs_from_models, pairs_from_samples, pairs_to_relabel
from genrlhf.errors import ConfigError, DataError

TURN = [{"role": "user", "content": "Say hi."}]


def test_pairs_of_samples_are_different_distinct_and_drawn_by_content() -> None:
    rows = [{"prompt": f"q{n}", "outputs": ["a", "b", "c", "a", " "], "dataset": "d", "other": 1} for n in range(300)]
    notes: list[str] = []
    drawn = pairs_from_samples(rows, notes=notes)
    assert len(drawn) == 300 and not notes and drawn[0].columns == {"dataset": "d"}
    counts = Counter(pair.shown[1:] for pair in drawn)
    assert set(counts) == {("a", "b"), ("a", "c"), ("b", "c")} and min(counts.values()) > 70
    turned = [{**row, "outputs": row["outputs"][::-1]} for row in rows[::-1]]  # type: ignore[index]
    assert {pair.shown for pair in pairs_from_samples(turned)} == {pair.shown for pair in drawn}
    assert {pair.shown for pair in pairs_from_samples(rows, seed=1)} != {pair.shown for pair in drawn}
    assert len({pair.shown for pair in pairs_from_samples(rows[:1], per_prompt=9)}) == 3


def test_prompts_without_two_outputs_are_counted() -> None:
    notes: list[str] = []
    rows = [{"prompt": "q", "outputs": ["a", "b"]}, {"prompt": "r", "outputs": ["a"]}, {"prompt": TURN, "outputs": []}]
    assert len(pairs_from_samples(rows, notes=notes)) == 1
    assert notes == ["2 rows have no two different outputs, and are left out; the first is row 1."]
    with pytest.raises(DataError, match="all 2 rows have no two different outputs; sample more"):
        pairs_from_samples(rows[1:])


def test_two_models_in_any_order_and_what_is_equal_is_left_out() -> None:
    first = [{"prompt": f"q{n}", "outputs": [f"a{n}", "z"]} for n in range(4)]
    second = [{"prompt": f"q{n}", "outputs": [f"b{n}" if n else "a0"]} for n in (3, 1, 0, 2)]
    notes: list[str] = []
    found = pairs_from_models(first, [("line 7", row) for row in second], names=("x", "y"), notes=notes)
    assert [pair.shown for pair in found] == [(f"q{n}", f"a{n}", f"b{n}") for n in (1, 2, 3)]
    assert found[0].names == ("x", "y")
    assert notes == ["row 0 has outputs that are equal or blank, and is left out."]


def test_preferences_keep_their_columns_and_lose_what_is_written_anew() -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "dataset": "d", "annotator": "old", "score": 0.2},
        {"prompt": "p", "chosen": "b", "rejected": "a"},
        {
            "chosen": [*TURN, {"role": "assistant", "content": "Hi"}],
            "rejected": [*TURN, {"role": "assistant", "content": "No"}],
        },
        {"prompt": "p", "chosen": "a", "rejected": "a"},
    ]
    notes: list[str] = []
    found = pairs_to_relabel(rows, notes=notes)
    assert [pair.shown for pair in found] == [("p", "a", "b"), ("Say hi.", "Hi", "No")]
    assert found[0].columns == {"dataset": "d"} and found[1].prompt == TURN
    assert notes == [
        "row 1 has a pair that is there before, and is left out.",
        "row 3 has outputs that are equal or blank, and is left out.",
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pairs_from_samples([]), "no rows"),
        (lambda: pairs_from_samples([{"prompt": "q"}]), "row 0 has no 'outputs'"),
        (lambda: pairs_from_samples([("line 2", {"prompt": 3, "outputs": ["a"]})]), "line 2, 'prompt' is 3"),
        (lambda: pairs_from_samples([{"prompt": "q", "outputs": "ab"}]), "give a list of texts"),
        (lambda: pairs_to_relabel([{"prompt": "q", "chosen": "a"}]), "row 0 has no 'rejected'"),
        (lambda: pairs_to_relabel([{"prompt": "q", "chosen": 1, "rejected": "a"}]), "'chosen' is 1"),
        (lambda: models([{"prompt": "q", "outputs": ["a"]}], [{"prompt": "r", "outputs": ["a"]}]), "only one has 'q'"),
        (lambda: models([{"prompt": "q", "outputs": ["a"]}] * 2, []), "the same prompt as row 0"),
        (lambda: models([{"prompt": "q", "outputs": []}], []), "row 0 has no output"),
    ],
)
def test_rows_that_are_none_are_told(make: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()


def test_a_number_of_pairs_below_one() -> None:
    with pytest.raises(ConfigError, match="per_prompt must be at least 1"):
        pairs_from_samples([{"prompt": "q", "outputs": ["a", "b"]}], per_prompt=0)


def models(first: Any, second: Any) -> Any:
    return pairs_from_models(first, second)
