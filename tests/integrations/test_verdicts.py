"""Which outputs of files of other tools are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genrlhf.errors import DataError
from genrlhf.integrations import load_outputs
from genrlhf.integrations.verdicts import verdicts_of


def test_verdicts_stay_with_their_outputs_when_samples_are_grouped(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [(1, "a", True), (2, "b", False), (1, None, True), (1, "c", False)]
    file.write_text("".join(json.dumps({"id": i, "text": t, "ok": ok}) + "\n" for i, t, ok in rows))
    found = load_outputs(file, outputs_column="text", group_by="id", verdicts_column="ok")
    assert [(row["outputs"], row["verdicts"]) for row in found] == [(["a", "c"], [True, False]), (["b"], [False])]
    assert all("verdicts" not in row for row in load_outputs(file, outputs_column="text", group_by="id"))


@pytest.mark.parametrize("value", [[True, False], [1, 0], ["C", "I"], ["TRUE", " false"], "[true, false]", [1.0, 0.0]])
def test_what_is_a_verdict(value: Any) -> None:
    assert verdicts_of(value, 2, "here", "ok") == [True, False]


@pytest.mark.parametrize("value", [["yes", "no"], [None, True], [0.5, 1], [float("nan"), 1], [[True], False]])
def test_what_is_none(value: Any) -> None:
    with pytest.raises(DataError, match="here has .* for a verdict in 'ok'"):
        verdicts_of(value, 2, "here", "ok")
    with pytest.raises(DataError, match=r"3 output\(s\) and 2 verdict"):
        verdicts_of(value, 3, "here", "ok")
