"""Tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from genrlhf.studies import markdown_table, text_table
from genrlhf.types import Estimate


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value, half / 2, (value - half, value + half), 10, np.zeros(10))


def figures(shift: float) -> dict[str, Any]:
    return {
        "pvr": {"id": estimate(0.25 + shift, 0.05), "ood": estimate(0.125, 0.05)},
        "gaps": {"ood": estimate(0.125, 0.1), "unseen_subreddits": estimate(-0.25, 0.1)},
        "reward": {"id": estimate(1.5, 0.25), "ood": estimate(-0.5, 0.25), "longer": estimate(0.0, 1.0)},
        "kl": estimate(0.0, 0.0),
        "diversity": {"per_input": {"ead": estimate(0.5, 0.125)}, "across_input": {"ead": estimate(0.75, 0.25)}},
    }


def test_text_table() -> None:
    table = text_table({"sft": figures(0), "best_of_n": figures(0.25)})
    lines = [line.split("  ") for line in table.splitlines()]
    cells = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert cells["PvR ID"] == ["25.0 [20.0, 30.0]", "50.0 [45.0, 55.0]"]
    assert cells["PvR OOD"] == ["12.5 [7.5, 17.5]"] * 2
    assert cells["gap OOD"] == ["12.5 [2.5, 22.5]"] * 2
    assert cells["gap unseen subreddits"] == ["-25.0 [-35.0, -15.0]"] * 2
    assert cells["EAD per input"] == ["0.50 [0.38, 0.62]"] * 2
    assert cells["EAD across inputs"] == ["0.75 [0.50, 1.00]"] * 2
    assert cells["reward OOD"] == ["-0.50 [-0.75, -0.25]"] * 2
    assert cells["KL"] == ["0.00"] * 2
    assert table.splitlines()[0].split() == ["SFT", "best-of-N"]


def test_markdown_table_has_the_same_cells() -> None:
    first, rule, *rows = markdown_table({"sft": figures(0)}).splitlines()
    assert first == "|  | SFT |"
    assert rule == "| --- | --- |"
    assert "| PvR ID | 25.0 [20.0, 30.0] |" in rows


def test_a_method_without_a_figure_leaves_its_cell_empty() -> None:
    lacking = figures(0)
    del lacking["gaps"]
    assert "| gap OOD |  | 12.5 [2.5, 22.5] |" in markdown_table({"base": lacking, "sft": figures(0)})
