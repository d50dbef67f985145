"""What a transform may return, and what its rows may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genrlhf.errors import DataError
from genrlhf.trainers import Completion, Group, TuningRows
from genrlhf.trainers.tuning_rows import load_rows, save_rows, tuning_rows

GROUP = Group("q", [Completion("a", True, [5, 1]), Completion("b", False, [6])], rewards=[0.0, 1.0])


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_rows_come_in_any_sequence_or_one_by_one(kind: Any) -> None:
    rows = [GROUP.demonstration(0), GROUP.demonstration(1)]
    assert tuning_rows(kind(rows), "supervised", 1) == tuning_rows(TuningRows(kind(rows)), "supervised", 1) == rows


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "The transform returned None; it must return a list of rows, or a TuningRows of one"),
        (GROUP.demonstration(0), "The transform returned {.*; it must return a list of rows"),
        ("abc", "The transform returned 'abc'; it must return a list of rows"),
        (TuningRows({"all equal": 1}, [GROUP.demonstration(0)]), "it must return a list of rows"),  # type: ignore[arg-type]
        (TuningRows([GROUP.demonstration(0)], ["all equal"]), "left_out=.'all equal'.; give how many groups"),  # type: ignore[arg-type]
        (TuningRows([GROUP.demonstration(0)], {"all equal": [GROUP]}), "give how many groups"),  # type: ignore[dict-item]
        ([[GROUP.demonstration(0)]], "Row 0 of the transform is .*, without 'prompt'"),
        ([GROUP.pair(0, 1)], "wants prompt, completion. Its columns are those of tune='pairwise'; name that as"),
        ([GROUP.ranking()], "Its columns are those of tune='ranking'"),
    ],
)
def test_what_is_no_list_of_rows_is_refused(made: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tuning_rows(made, "supervised", 1)


def test_numbers_of_numpy_and_torch_are_kept_as_numbers(tmp_path: Path) -> None:
    numbers = {"weight": torch.tensor([0.25, 0.75]).softmax(0)[0] * 0 + 0.5, "n": np.int64(3), "all": [np.float32(0.5)]}
    save_rows(tmp_path / "rows.jsonl", [GROUP.demonstration(0, vector=torch.tensor([1.0, 2.0]), **numbers)])
    (row,) = load_rows(tmp_path / "rows.jsonl")
    assert row == GROUP.demonstration(0, weight=0.5, n=3, all=[0.5], vector=[1.0, 2.0])


def test_what_cannot_be_kept_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"Row 1 of the transform, 'x', cannot be kept as JSON: .*set.*; give text, num"
    ):
        save_rows(tmp_path / "rows.jsonl", [GROUP.demonstration(0, x=1), GROUP.demonstration(1, x={1})])
    assert not (tmp_path / "rows.jsonl").exists()
