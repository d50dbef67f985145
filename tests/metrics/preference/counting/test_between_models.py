"""Models against each other and beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from genrlhf.errors import DataError, JudgeError
from genrlhf.metrics.preference import compare_win_rates, head_to_head
from genrlhf.metrics.score_interval import score_interval


def row(first: str, second: str, preference: Any, instruction: str = "i") -> dict[str, Any]:
    return {
        "instruction": instruction,
        "generator_1": first,
        "output_1": "x",
        "generator_2": second,
        "output_2": "y",
        "preference": preference,
    }


def test_matrix_by_hand() -> None:
    rows = [
        row("b", "a", 1),
        row("a", "b", 1),
        row("a", "b", 1.5),
        row("a", "b", 1),
        row("c", "a", 2),
        row("a", "c", 2),
    ]
    table = head_to_head(rows)
    assert list(table) == ["a", "b", "c"] and list(table["b"]) == ["a"]
    assert table["a"]["b"].win_rate == pytest.approx(62.5) and table["b"]["a"].win_rate == pytest.approx(37.5)
    assert (table["a"]["b"].n_wins, table["a"]["b"].n_wins_base, table["a"]["b"].n_draws) == (2, 1, 1)
    assert table["a"]["c"].win_rate == 50 and table["c"]["a"].n_total == 2
    with pytest.raises(DataError, match="row 0 has no 'generator_2'"):
        head_to_head([{"generator_1": "a"}])
    with pytest.raises(DataError, match="There are no annotations"):
        head_to_head([])
    with pytest.raises(JudgeError, match="None of the 1 comparisons"):
        head_to_head([row("a", "b", None)])


def test_two_models_against_one_baseline_are_paired_by_instruction() -> None:
    rows = [row("old", "a", preference, f"i{n}") for n, preference in enumerate((2, 1, 1, 1, 2))]
    # Those of b in another order, one of them without an answer, one twice, one that a has not.
    rows += [row("b", "old", preference, f"i{n}") for n, preference in ((3, 1), (2, 1), (1, 2), (0, None), (9, 1))]
    rows += [row("old", "b", 1, "i3"), row("old", "b", 1, "i4")]
    found = compare_win_rates(rows, "a", "b", baseline="old")
    # i1: 0 − 0, i2: 1 − 0, i3: the mean of 1 and 0 − 0, i4: 0 − 1
    assert sorted(found.difference.values) == [-1, 0, 0.5, 1]
    assert found.difference.value == 0.125
    # Shares of one instruction lie in [−1, 1], and so does their difference.
    assert found.difference.ci == score_interval([-1, 0, 0.5, 1], -1, 1)
    # Whatever the signs, the sum is 50, 150 or 250 away from 0.
    assert found.p_value == 1
    assert compare_win_rates(rows, "b", "a", baseline="old").difference.value == -0.125
    with pytest.raises(DataError, match=r"There are no judgements of 'c'; there are of 'a', 'b'"):
        compare_win_rates(rows, "a", "c", baseline="old")
    with pytest.raises(DataError, match="No instruction has an answer for both 'a' and 'b'"):
        compare_win_rates([row("old", "a", 1, "i"), row("old", "b", 1, "j")], "a", "b")
